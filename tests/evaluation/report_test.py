import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from matplotlib.figure import Figure as Plotted

from vtmask import pages
from vtmask.evaluation import report
from vtmask.evaluation.report import (
    Card,
    Figure,
    Group,
    Line,
    Lines,
    Part,
    Report,
    Span,
    Strip,
    Timeline,
)


class Page(HTMLParser):
    """Collects the tags, addresses and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.text = " ".join(self.words)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attributes}))

    def handle_data(self, data: str) -> None:
        self.words += data.split()

    def of_class(self, name: str) -> list[dict[str, str]]:
        return [values for _, values in self.tags if name in values.get("class", "").split()]

    @property
    def addresses(self) -> list[str]:
        names = ("src", "srcset", "href", "data")
        return [values[name] for _, values in self.tags for name in names if name in values]

    @property
    def frames(self) -> list[dict[str, str]]:
        images = [values for tag, values in self.tags if tag == "img"]
        return [image for image in images if image["src"].startswith("data:image/jpeg;base64,")]


def make_video(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for level in np.linspace(0, 255, 24).astype(np.uint8):
            pixels = np.full((48, 64, 3), level)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def write(path: Path, *parts: Part, **fields: Any) -> Page:
    defaults: dict[str, Any] = {
        "title": "A run",
        "metrics": {"test": {"accuracy": 0.5}},
        "intervals": {},
        "baselines": {},
        "explanation": "",
        "headline": [],
        "facts": {},
        "figures": [],
        "groups": [Group("Best", "", [Card("An example", "", parts)])],
    }
    report.write(path / "r.html", Report(**defaults | fields))
    return Page((path / "r.html").read_text(encoding="utf-8"))


def make_figure() -> Figure:
    figure = Plotted()
    figure.add_subplot()
    return Figure(pages.plot(figure), "what it shows", "how to read it")


def style(tag: dict[str, str]) -> dict[str, str]:
    pairs = (pair.split(":", 1) for pair in tag["style"].split(";"))
    return {name.strip(): value.strip() for name, value in pairs}


def test_a_report_needs_no_other_file_and_runs_no_script(tmp_path: Path) -> None:
    strip = Strip(make_video(tmp_path / "v.mp4"))
    timeline = Timeline(9, {"true": [Span(0, 3, "a"), Span(3, 9, "b")]})
    page = write(
        tmp_path, strip, timeline, Lines([Line("x", strip=strip)]), figures=[make_figure()]
    )
    assert len(page.addresses) == 14
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object"}
    assert not re.search(r"@import|url\(| on\w+=", page.html)


def test_numbers_with_intervals_and_baselines(tmp_path: Path) -> None:
    page = write(
        tmp_path,
        metrics={"text to video": {"R@1": 0.465, "MedR": 2.0}, "Make Latte": {"CIDEr": 0.614}},
        intervals={"text to video": {"R@1": (0.4, 0.53), "MedR": (1.0, 2.5)}},
        baselines={"chance": {"R@1": 0.005, "MedR": 100.5}},
        headline=[("text to video", "R@1"), ("Make Latte", "CIDEr")],
        explanation="R@K: of K.",
        facts={"split": "<held out>"},
    )
    assert "Text to video, R@1 46.5 % 95 % interval 40.0–53.0 % chance 0.5 %" in page.text
    assert "Make Latte, CIDEr 0.61 R@K: of K." in page.text
    assert "95 % bootstrap intervals over the test examples" in page.text
    assert "R@1 MedR CIDEr Text to video 46.5 % 40.0–53.0 % 2 1–2.5 –" in page.text
    assert "Make Latte – – 0.61 Chance 0.5 % 100.5 –" in page.text
    assert "split <held out>" in page.text


def test_without_intervals_none_are_mentioned(tmp_path: Path) -> None:
    page = write(tmp_path, headline=[("test", "accuracy")])
    assert "Test, accuracy 50.0 %" in page.text
    assert "interval" not in page.text


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("R@5", 1.0, "100.0 %"),
        ("frame accuracy", 0.0, "0.0 %"),
        ("MedR", 1000.5, "1000.5"),
        ("MedR", 13.0125, "13"),
        ("BLEU-4", 0.1234, "0.12"),
        ("recall", float("nan"), "–"),
    ],
)
def test_numbers_are_formatted_by_their_column(column: str, value: float, text: str) -> None:
    assert report.number(column, value) == text


def test_all_text_is_escaped(tmp_path: Path) -> None:
    attack = "<script>alert(1)</script>\"'>"
    spans = [Span(0, 1, attack), Span(1, 2, "b")]
    page = write(
        tmp_path,
        title=attack,
        metrics={attack: {attack: 0.5}},
        intervals={attack: {attack: (0.1, 0.9)}},
        baselines={attack: {attack: 0.5}},
        headline=[(attack, attack)],
        explanation=attack,
        facts={attack: attack},
        figures=[Figure(make_figure().plot, attack, attack)],
        groups=[
            Group(
                attack,
                attack,
                [
                    Card(
                        attack,
                        attack,
                        [
                            Timeline(2, {attack: spans}),
                            Lines([Line(attack, 1.0, "right", None, attack)]),
                            Strip(tmp_path / "<script>.mp4"),
                        ],
                    )
                ],
            )
        ],
    )
    assert "script" not in {tag for tag, _ in page.tags}
    # Title 2, tile 3, explanation 1, table headers 3, fact 2, caption 1, group 2, card 2,
    # row 1, span 1, legend 1, line 2.
    assert page.text.count("alert(1)") == 21
    assert any(values.get("alt") == attack for _, values in page.tags)
    assert page.of_class("span")[0]["title"].startswith(attack)


def test_frames_are_evenly_spaced_thumbnails(tmp_path: Path) -> None:
    page = write(tmp_path, Strip(make_video(tmp_path / "v.mp4")))
    assert len({frame["src"] for frame in page.frames}) == 6
    seconds = ("0.2", "0.8", "1.2", "1.8", "2.2", "2.8")
    assert [frame["alt"] for frame in page.frames] == [f"v at {second} s" for second in seconds]


@pytest.mark.parametrize(
    ("start", "end", "seconds"),
    [
        (1.2, 2.4, ["1.3", "1.5", "1.7", "1.9", "2.1", "2.3"]),
        (1.8, None, ["1.9", "2.1", "2.3", "2.5", "2.7", "2.9"]),
        (1.8, 99.0, ["1.9", "2.1", "2.3", "2.5", "2.7", "2.9"]),
        (1.0, 1.0, ["1.0"]),
    ],
)
def test_frames_of_a_stretch(
    tmp_path: Path, start: float, end: float | None, seconds: list[str]
) -> None:
    page = write(tmp_path, Strip(make_video(tmp_path / "v.mp4"), start, end))
    assert [frame["title"] for frame in page.frames] == [f"{second} s" for second in seconds]


def test_a_strip_without_frames_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    truncated = make_video(tmp_path / "truncated.mp4")
    truncated.write_bytes(truncated.read_bytes()[:200])
    beyond = make_video(tmp_path / "beyond.mp4")
    page = write(
        tmp_path,
        Strip(None),
        Strip(tmp_path / "gone.mp4"),
        Lines([Line("x", strip=Strip(broken))]),
        Strip(truncated),
        Strip(beyond, 60, 65),
    )
    assert not page.frames
    assert "No frames to show: no video file was given" in page.text
    for name in ("gone", "broken", "truncated", "beyond"):
        assert f"No frames to show: {name}.mp4: " in page.text
    assert str(tmp_path) not in page.text


def test_spans_are_placed_in_percent_of_the_axis(tmp_path: Path) -> None:
    spans = [Span(50, 150, "pour"), Span(199, 200, "stir")]
    page = write(tmp_path, Timeline(200, {"true": spans}))
    first, second = map(style, page.of_class("span"))
    assert (first["left"], first["width"]) == ("min(25.000%, 100% - var(--least))", "50.000%")
    assert (second["left"], second["width"]) == ("min(99.500%, 100% - var(--least))", "0.500%")
    assert "min-width: var(--least)" in page.html
    assert "0 s 60 s 120 s 180 s" in page.text
    (drawing,) = page.of_class("timeline")
    assert drawing["role"] == "img"
    assert drawing["aria-label"] == "True: pour, 50–150 s; stir, 199–200 s. "


def test_each_label_has_one_colour_on_the_page(tmp_path: Path) -> None:
    first = Timeline(9, {"true": [Span(0, 3, "a"), Span(3, 9, "b")]})
    second = Timeline(9, {"predicted": [Span(0, 3, "b"), Span(3, 9, "c")]})
    page = write(tmp_path, first, second)
    hues = [style(span)["--hue"] for span in page.of_class("span")]
    assert hues[1] == hues[2]
    assert len(set(hues)) == 3
    assert "1 a 2 b 0 s" in page.text  # numbers of the legend, for spans too short for their label
    assert "1 a 2 b 1 b 2 c 0 s" not in page.text


def test_a_hundred_labels_have_a_hundred_colours(tmp_path: Path) -> None:
    spans = [Span(i, i + 1, f"class {i}") for i in range(100)]
    page = write(tmp_path, Timeline(100, {"true": spans}))
    assert len({style(span)["--hue"] for span in page.of_class("span")}) == 100


def test_a_single_label_needs_no_legend(tmp_path: Path) -> None:
    page = write(tmp_path, Timeline(9, {"true": [Span(0, 3, "a")], "predicted": []}))
    assert not page.of_class("legend")
    assert page.of_class("timeline")[0]["aria-label"] == "True: a, 0–3 s. Predicted: none. "


def test_overlapping_spans_are_stacked(tmp_path: Path) -> None:
    spans = [Span(0, 4, "a"), Span(2, 6, "b"), Span(4, 8, "a"), Span(3, 5, "c")]
    page = write(tmp_path, Timeline(9, {"true": spans}))
    assert [style(span)["--lane"] for span in page.of_class("span")] == ["0", "1", "0", "2"]
    assert style(page.of_class("row")[0])["--lanes"] == "3"


@pytest.mark.parametrize("spans", [[], [Span(0, 0, "a")]])
def test_a_timeline_may_have_no_length(tmp_path: Path, spans: list[Span]) -> None:
    page = write(tmp_path, Timeline(0, {"true": spans}))
    assert len(page.of_class("span")) == len(spans)


def test_a_span_beyond_the_video_lengthens_the_axis(tmp_path: Path) -> None:
    page = write(tmp_path, Timeline(10, {"true": [Span(10, 20, "a")]}))
    assert style(page.of_class("span")[0])["width"] == "50.000%"


def test_lines_have_their_marks(tmp_path: Path) -> None:
    lines = [
        Line("an answer", 0.25, "right", None, "#1"),
        Line("another", mark="wrong"),
        Line("a caption", mark="chosen", note="generated"),
        Line("bare"),
    ]
    page = write(tmp_path, Lines(lines))
    assert "#1 score 0.25 ✓ right an answer" in page.text
    assert "✗ wrong another generated a caption bare" in page.text
    assert all(page.of_class(mark) for mark in ("right", "wrong", "chosen"))


def test_a_report_may_have_only_numbers(tmp_path: Path) -> None:
    page = write(tmp_path, groups=[])
    assert "Test 50.0 %" in page.text
    assert "Plots" not in page.text


def test_a_page_with_many_frames_stays_small(tmp_path: Path) -> None:
    strip = Strip(make_video(tmp_path / "v.mp4"))
    cards = [Card(f"query {i}", "", [Lines([Line("x", strip=strip)] * 4)]) for i in range(10)]
    write(tmp_path, groups=[Group("Best", "", cards)])
    assert (tmp_path / "r.html").stat().st_size < 1e6
