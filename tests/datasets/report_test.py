"""A build's report counts every video, in any order, and has a readable page."""

import base64
import json
import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtmask.datasets import report
from vtmask.datasets.report import Counts
from vtmask.errors import UserError
from vtmask.files.subtitles import Caption


def built(captions: list[Caption], seconds: float = 60, deduplicated: bool = False) -> Counts:
    counts = Counts(videos=1)
    counts.before.add(captions, seconds)
    if deduplicated:
        counts.after.add(captions[:1], seconds)
    return counts


def timed(number: int) -> list[Caption]:
    return [Caption(i * 0.7, i * 0.7 + 0.1 * number, "some words") for i in range(number)]


def written(folder: Path, **splits: Counts) -> str:
    for split, counts in splits.items():
        counts.write(report.working_folder(folder, split))
    report.write(folder, "toy/<b>/1.0.0")
    return (folder / "build_report.html").read_text()


def text(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page.split("<body>")[1]).split())


def plots(page: str) -> list[str]:
    uris = re.findall(r'<img src="data:image/svg\+xml;base64,([^"]+)"', page)
    return [base64.b64decode(uri).decode() for uri in uris]


def shown(plot: str) -> list[str]:
    """Returns the texts in a plot."""
    return re.findall(r"<!-- (.*?) -->", plot)


@given(st.permutations(range(12)), st.integers(0, 12))
def test_the_order_of_videos_does_not_matter(order: list[int], cut: int) -> None:
    parts = [built(timed(n), 7.3 * n, True) for n in range(10)]
    parts += [Counts(skipped=[(f"v{n}", "x.npy: broken")]) for n in range(2)]
    halves = [Counts(), Counts()]
    for place, number in enumerate(order):
        halves[place < cut] += parts[number]
    total = sum(parts, Counts())
    assert json.dumps((halves[0] + halves[1]).to_json()) == json.dumps(total.to_json())


def test_adding_two_counts_changes_neither() -> None:
    one, other = built(timed(3)), Counts(skipped=[("a", "b")])
    before = json.dumps([one.to_json(), other.to_json()])
    assert (one + other).to_json()["num_skipped"] == 1
    assert json.dumps([one.to_json(), other.to_json()]) == before


def test_the_page_shows_the_counts(tmp_path: Path) -> None:
    counts = built(timed(4)) + built(timed(2))
    counts.skipped = [("b", "b.npy: has 3 rows"), ("a", "a.npy: has 17 rows"), ("c", "no <text>")]
    counts.problems.update({"empty caption": 3, "caption cut at the video's end": 1200})
    page = text(written(tmp_path, train=counts))
    assert "Videos built 2 of 5" in page
    assert "Videos skipped 3 60 %" in page
    assert "Captions 6 3 a video" in page
    assert "Reason Videos has N rows 2 no &lt;text&gt; 1" in page
    assert "Video Reason a a.npy: has 17 rows b b.npy: has 3 rows c no &lt;text&gt;" in page
    assert "Reason Times caption cut at the video&#39;s end 1,200 empty caption 3" in page
    assert "Captions of a video 3 2 4 " in page  # mean, least, most
    assert "Words per second of video 0.1 0.07 0.13 " in page


def test_splits_come_in_the_usual_order(tmp_path: Path) -> None:
    names = ["zero", "test", "another", "validation", "train"]
    page = written(tmp_path, **{name: built(timed(1)) for name in names})
    expected = ["train", "validation", "test", "another", "zero"]
    assert re.findall("<h2>(.*)</h2>", page) == expected
    assert list(json.loads((tmp_path / "build_report.json").read_text())) == expected
    assert not (tmp_path / "build").exists()


def test_captions_before_and_after_deduplication_are_side_by_side(tmp_path: Path) -> None:
    counts = built(timed(4), deduplicated=True) + built(timed(2), deduplicated=True)
    page = written(tmp_path, train=counts, test=built(timed(2)))
    train, test = page.split("<h2>test</h2>")
    stages = ["before de-duplication", "after de-duplication"]
    assert "Captions before de-duplication 6" in text(train)
    assert "Captions after de-duplication 2" in text(train)
    assert "Captions of a video 3 2 4 1 1 1 " in text(train)
    assert all(set(stages) <= set(shown(plot)) for plot in plots(train))
    assert len(plots(train)) == 6 == len(plots(test))
    assert "de-duplication" not in "".join(plots(test)) + test


def test_files_that_are_left_out_are_listed(tmp_path: Path) -> None:
    unread = [(f"v{n}", f"/here/v{n}.json: holds no captions") for n in (2, 1)]
    page = text(written(tmp_path, train=built(timed(2)) + Counts(unread=unread)))
    assert "holds no captions 2" in page and "v1 /here/v1.json: holds no captions" in page
    actual = json.loads((tmp_path / "build_report.json").read_text())["train"]
    assert actual["files_left_out"] == {"holds no captions": 2}
    assert [video["video_id"] for video in actual["left_out"]] == ["v1", "v2"]


def test_a_build_may_have_no_captions(tmp_path: Path) -> None:
    page = written(tmp_path, train=built([]))
    assert "Captions 0 0 a video" in text(page)
    assert "Length of a caption, seconds – – – " in text(page)
    assert "No video was skipped." in page and "No caption was dropped or cut." in page
    assert text(page).count("None to show.") == 2  # of each caption, per captioned second
    assert "nan" not in text(page).lower()


@pytest.mark.parametrize("seconds, named", [(1179, False), (1180, True), (90_000, True)])
def test_the_last_bin_is_labelled_if_it_counts_larger_values(
    tmp_path: Path, seconds: int, named: bool
) -> None:
    counts = built(timed(2), 100) + built(timed(2), seconds)
    length, *others = plots(written(tmp_path, train=counts))
    assert ("≥ 1180" in shown(length)) == named
    assert not any("≥" in label for plot in others for label in shown(plot))


def test_only_the_json_lists_all_of_many_skipped_videos(tmp_path: Path) -> None:
    count = 20_000
    names = random.Random(0).sample(range(count), count)
    reasons = [f"f: {'ab'[name % 2] * (name // 100 + 1)}" for name in names]
    skipped = [(f"v{name:05}", reason) for name, reason in zip(names, reasons, strict=True)]
    page = text(written(tmp_path, train=built(timed(2)) + Counts(skipped=skipped)))
    assert "Videos skipped 20,000 100 %" in page
    assert "The first 200 of 20,000 skipped videos; build_report.json lists all" in page
    assert "v00199" in page and "v00200" not in page
    assert "200 more reasons, which build_report.json lists 10,000" in page
    actual = json.loads((tmp_path / "build_report.json").read_text())["train"]
    assert [video["video_id"] for video in actual["skipped"]] == [f"v{n:05}" for n in range(count)]
    assert len(actual["reasons"]) == 400


def test_the_page_needs_no_other_file_and_follows_the_colour_scheme(tmp_path: Path) -> None:
    attack = '<script src="x">'
    counts = built(timed(2)) + Counts(skipped=[(attack, attack)])
    page = written(tmp_path, train=counts)
    assert "<script" not in page and not re.search(r"@import|url\(|<link", page)
    assert text(page).count("&lt;script src=") == 3  # the reason twice, the id
    assert page.count("Build of toy/&lt;b&gt;/1.0.0") == 2
    addresses = re.findall(r'(?:src|srcset|href)="([^"]*)"', page)
    assert addresses and all(uri.startswith("data:image/svg+xml;base64,") for uri in addresses)
    dark = ["#e6e9ef" in base64.b64decode(uri.split(",")[1]).decode() for uri in addresses]
    assert dark == [True, False] * 6  # the source for dark pages, then the image


def test_equal_builds_give_equal_bytes(tmp_path: Path) -> None:
    pages = [written(tmp_path / name, train=built(timed(4), 1e6, True)) for name in "ab"]
    assert pages[0] == pages[1]


def test_an_existing_build_keeps_its_report(tmp_path: Path) -> None:
    page = written(tmp_path, train=built(timed(2)))
    assert written(tmp_path) == page


def test_a_split_without_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="split test: none of its 1 videos .*: video a: gone$"):
        written(tmp_path, test=Counts(skipped=[("a", "gone")]))
