import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import av
import numpy as np
import pytest

from vtmask.errors import UserError
from vtmask.evaluation import metrics
from vtmask.evaluation.report import Example, write_retrieval_report


class Page(HTMLParser):
    """The tags, addresses and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.images: list[dict[str, str]] = []
        self.words: list[str] = []
        self.feed(html)
        self.text = " ".join(self.words)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = {name: value or "" for name, value in attributes}
        self.addresses += [values[k] for k in ("src", "srcset", "href", "data") if k in values]
        if tag == "img":
            self.images.append(values)

    def handle_data(self, data: str) -> None:
        self.words += data.split()


def make_video(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for level in np.linspace(0, 255, 24).astype(np.uint8):
            pixels = np.full((48, 64, 3), level)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def write(path: Path, scores: np.ndarray, examples: list[Example], title: str = "A run") -> Page:
    values = {
        "text to video": metrics.retrieval(scores),
        "video to text": metrics.retrieval(scores.T),
    }
    write_retrieval_report(path, title, scores, examples, values, {"split": "<held out>"})
    return Page(path.read_text(encoding="utf-8"))


def make_examples(count: int, video: Path | None = None) -> list[Example]:
    return [Example(f"video{i}", f"text {i}", [f"caption {i}"], video) for i in range(count)]


def frames(page: Page) -> list[str]:
    addresses = (image["src"] for image in page.images)
    return [address for address in addresses if address.startswith("data:image/jpeg;base64,")]


def test_needs_no_other_file_and_runs_no_script(tmp_path: Path) -> None:
    page = write(tmp_path / "r.html", np.eye(3), make_examples(3, make_video(tmp_path / "v.mp4")))
    assert len(page.addresses) > 4
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert not page.tags & {"script", "link", "iframe", "object"}
    assert not re.search(r"@import|url\(", (tmp_path / "r.html").read_text())


def test_numbers(tmp_path: Path) -> None:
    scores = np.eye(8)
    scores[0, 1:3] = 2
    page = write(tmp_path / "r.html", scores, make_examples(8))
    assert "Text to video 87.5 % 100.0 % 100.0 % 1" in page.text
    assert "Chance 12.5 % 62.5 % 100.0 % 4.5" in page.text
    assert "7.0 × chance (12.5 %)" in page.text
    assert "split <held out>" in page.text


def test_all_text_is_escaped(tmp_path: Path) -> None:
    attack = "<script>alert(1)</script>\"'>"
    example = Example(attack, attack, [attack], tmp_path / "gone<b>.mp4")
    page = write(tmp_path / "r.html", np.ones((1, 1)), [example], title=attack)
    assert "script" not in page.tags
    assert "b>" in page.text
    assert page.text.count(attack) == 6  # twice the title and the text, the id, the caption


def test_frames_are_evenly_spaced_thumbnails(tmp_path: Path) -> None:
    page = write(tmp_path / "r.html", np.eye(1), make_examples(1, make_video(tmp_path / "v.mp4")))
    assert len(set(frames(page))) == 6
    alts = [image["alt"] for image in page.images if image["src"] in frames(page)]
    assert alts == [
        f"video0 at {second} s" for second in ("0.2", "0.8", "1.2", "1.8", "2.2", "2.8")
    ]


def test_every_image_has_an_alternative_text(tmp_path: Path) -> None:
    page = write(tmp_path / "r.html", np.eye(2), make_examples(2, make_video(tmp_path / "v.mp4")))
    assert all(image["alt"] for image in page.images)


def test_a_video_without_frames_is_said_in_its_place(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    truncated = make_video(tmp_path / "truncated.mp4")
    truncated.write_bytes(truncated.read_bytes()[:200])
    videos = [None, tmp_path / "gone.mp4", broken, truncated]
    examples = [Example(str(i), f"text {i}", [], video) for i, video in enumerate(videos)]
    page = write(tmp_path / "r.html", np.eye(4), examples)
    assert not frames(page)
    assert "no video file was given" in page.text
    for name in ("gone", "broken", "truncated"):
        assert f"No frames to show: {name}.mp4: " in page.text
    assert str(tmp_path) not in page.text


def test_best_come_first_and_worst_show_the_right_video_too(tmp_path: Path) -> None:
    scores = np.eye(12)
    scores[3] = np.arange(12, 0, -1)
    scores[7] = np.arange(12, 0, -1)
    scores[7, 7] = 0
    page = write(tmp_path / "r.html", scores, make_examples(12))
    best, worst = page.text.split("Worst text queries")
    assert best.count("Right video ranks 1 of 12") == 5
    found = re.findall(r"(text \d+)\s+Right video ranks (\d+) of 12", worst)
    assert found[:2] == [("text 7", "12"), ("text 3", "4")]
    first = worst.split("Narration")[0]
    assert re.findall(r"#(\d+)", first) == ["1", "2", "3", "12"]
    assert first.count("✓ right video") == 1


def test_large_runs_stay_small(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).standard_normal((600, 600))
    page = write(tmp_path / "r.html", scores, make_examples(600, make_video(tmp_path / "v.mp4")))
    assert "Shown are 256 of the 600" in page.text
    assert (tmp_path / "r.html").stat().st_size < 3e6


def test_plots_follow_the_colour_scheme(tmp_path: Path) -> None:
    page = write(tmp_path / "r.html", np.eye(2), make_examples(2))
    plots = [address for address in page.addresses if address.startswith("data:image/svg+xml")]
    inks = ["#e6e9ef" in base64.b64decode(uri.split(",")[1]).decode() for uri in plots]
    assert inks == [True, False, True, False]  # the source for dark pages, then the image


def test_input_that_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="do not fit 2 examples"):
        write_retrieval_report(tmp_path / "r.html", "", np.eye(3), make_examples(2), {}, {})
    with pytest.raises(UserError, match="not finite"):
        write_retrieval_report(
            tmp_path / "r.html", "", np.full((2, 2), np.nan), make_examples(2), {}, {}
        )
