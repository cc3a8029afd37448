"""The report of an evaluation: one self-contained HTML file with numbers, plots and examples.

Every task composes its page of the parts defined here. `cards` makes examples from predictions,
`figures` makes plots.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from math import isnan
from pathlib import Path
from typing import Any, Literal

from etils import epath

from vtmask import pages, thumbnails
from vtmask.errors import UserError
from vtmask.thumbnails import Thumbnail

Table = Mapping[str, Mapping[str, float]]  # row to column to value
Intervals = Mapping[str, Mapping[str, tuple[float, float]]]  # the same with (low, high)

_FRAMES = 6  # per strip
_FRAME_HEIGHT = 96  # pixels
_TICKS = 6  # of a timeline, at most
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600)  # between ticks [seconds]

# By column; other columns have two decimals.
_FORMATS = {
    "MedR": "{:.1f}",
    **dict.fromkeys(("R@1", "R@5", "R@10", "R@100", "rank@1", "rank@5", "mIoU"), "{:.1%}"),
    **dict.fromkeys(("accuracy", "frame accuracy", "recall"), "{:.1%}"),
    **dict.fromkeys(("R@1, IoU 0.5", "R@1, IoU 0.7", "mAP"), "{:.1%}"),
}


@dataclass(frozen=True)
class Strip:
    """Evenly spaced frames of a part of a video.

    Attributes:
      video: the file. If it is None or can't be read, the page says so.
      start, end: of the part in seconds; None is the beginning or the end of the video.
    """

    video: Path | None
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Span:
    """A labelled part of a timeline.

    Attributes:
      start, end: in seconds; even very short spans are visible.
      label: has the same colour everywhere on the page.
      faint: True to draw it without colour, such as background.
    """

    start: float
    end: float
    label: str
    faint: bool = False


@dataclass(frozen=True)
class Timeline:
    """Rows of spans over time.

    Attributes:
      seconds: length of the axis, which is extended if a span ends later.
      rows: spans by the row's name; overlapping spans are drawn below each other.
    """

    seconds: float
    rows: Mapping[str, Sequence[Span]]


@dataclass(frozen=True)
class Line:
    """A text in a list: a candidate, an answer, a caption.

    Attributes:
      score: shown unless it is None.
      mark: colours the line; "chosen" is for output that is neither right nor wrong.
      strip: frames beside the text.
      note: shown before the score, such as a rank.
    """

    text: str
    score: float | None = None
    mark: Literal["", "right", "chosen", "wrong"] = ""
    strip: Strip | None = None
    note: str = ""


@dataclass(frozen=True)
class Lines:
    items: Sequence[Line]


Part = Strip | Timeline | Lines


@dataclass(frozen=True)
class Card:
    """An example: a query or video, and the model's output for it."""

    title: str
    note: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Group:
    """Examples under a heading, such as the best ones."""

    heading: str
    explanation: str
    cards: Sequence[Card]


@dataclass(frozen=True)
class Figure:
    """A plot; `alt` describes it in words, `caption` explains how to read it."""

    plot: pages.Plot
    alt: str
    caption: str


@dataclass(frozen=True)
class Report:
    """The content of a page.

    Attributes:
      title: of the page.
      metrics: rows of figures, such as {"text to video": {"R@1": 0.465}}.
      intervals: 95 % bootstrap intervals of some of `metrics`, or of none.
      baselines: more rows, such as {"chance": {"R@1": 0.005}}; they may lack columns.
      explanation: the meaning of the columns.
      headline: (row, column) of the `metrics` at the top of the page, in large type.
      facts: about the run: checkpoint, data set, split, ….
      figures, groups: shown in this order.
    """

    title: str
    metrics: Table
    intervals: Intervals
    baselines: Table
    explanation: str
    headline: Sequence[tuple[str, str]]
    facts: Mapping[str, str | int]
    figures: Sequence[Figure]
    groups: Sequence[Group]


def write(path: str | os.PathLike[str], report: Report) -> None:
    """Writes one HTML file that needs no network, no script and no other file."""
    columns = dict.fromkeys(column for row in report.metrics.values() for column in row)
    parts = (part for group in report.groups for card in group.cards for part in card.parts)
    hues = _hues(part for part in parts if isinstance(part, Timeline))
    page = pages.render(
        "evaluation/report.html.j2",
        title=report.title,
        report=report,
        columns=list(columns),
        number=number,
        interval=interval,
        groups=[
            (group, [(card, [_draw(part, hues) for part in card.parts]) for card in group.cards])
            for group in report.groups
        ],
    )
    epath.Path(path).write_text(page)


def number(column: str, value: float) -> str:
    """Formats a value for its column, such as in percent; "–" for NaN."""
    if isnan(value):
        return "–"
    return _FORMATS.get(column, "{:.2f}").format(value).replace("%", " %").removesuffix(".0")


def interval(column: str, low: float, high: float) -> str:
    """Formats an interval for its column, with the unit once."""
    return f"{number(column, low).removesuffix(' %')}–{number(column, high)}"


@dataclass(frozen=True)
class _DrawnStrip:
    """Frames, or the reason for their absence."""

    name: str
    frames: Sequence[Thumbnail] = ()
    problem: str = ""


@dataclass(frozen=True)
class _DrawnSpan:
    """A span, its place in percent of the axis, and its label's number in the legend."""

    span: Span
    left: float
    width: float
    lane: int
    hue: float
    number: int


@dataclass(frozen=True)
class _DrawnTimeline:
    """A timeline with places in percent of the axis.

    Attributes:
      rows: spans by row.
      legend: a span of each label, if there are several labels.
      ticks: their places, by second.
    """

    rows: Mapping[str, Sequence[_DrawnSpan]]
    legend: Sequence[_DrawnSpan]
    ticks: Mapping[int, float]


@dataclass(frozen=True)
class _DrawnLine:
    line: Line
    strip: _DrawnStrip | None


def _hues(timelines: Iterable[Timeline]) -> dict[str, float]:
    """Chooses a hue in degrees for each label of the page."""
    labels = (span.label for line in timelines for row in line.rows.values() for span in row)
    return {label: pages.hue(i) for i, label in enumerate(dict.fromkeys(labels))}


def _draw(part: Part, hues: Mapping[str, float]) -> tuple[str, Any]:
    """Returns the name of the template's macro for the part, and its argument."""
    match part:
        case Strip():
            return "strip", _draw_strip(part)
        case Timeline():
            return "timeline", _draw_timeline(part, hues)
        case Lines(items):
            return "lines", [
                _DrawnLine(line, _draw_strip(line.strip) if line.strip else None) for line in items
            ]


def _draw_strip(strip: Strip) -> _DrawnStrip:
    if strip.video is None:
        return _DrawnStrip("", problem="no video file was given")
    try:
        frames = thumbnails.evenly_spaced(
            strip.video, strip.start, strip.end, _FRAMES, _FRAME_HEIGHT
        )
    except UserError as error:
        return _DrawnStrip(strip.video.stem, problem=str(error))
    return _DrawnStrip(strip.video.stem, frames)


def _draw_timeline(timeline: Timeline, hues: Mapping[str, float]) -> _DrawnTimeline:
    spans = [span for row in timeline.rows.values() for span in row]
    seconds = max([timeline.seconds, *(span.end for span in spans)]) or 1.0
    names = dict(zip(dict.fromkeys(span.label for span in spans), count(1), strict=False))
    rows = {
        name: [
            _DrawnSpan(
                span,
                left=100 * span.start / seconds,
                width=100 * (span.end - span.start) / seconds,
                lane=lane,
                hue=hues[span.label],
                number=names[span.label],
            )
            for span, lane in zip(row, _lanes(row), strict=True)
        ]
        for name, row in timeline.rows.items()
    }
    legend = {span.number: span for row in rows.values() for span in row}
    step = next((step for step in _STEPS if seconds / step < _TICKS), _STEPS[-1])
    return _DrawnTimeline(
        rows,
        [legend[i] for i in sorted(legend)] if len(legend) > 1 else [],
        {second: 100 * second / seconds for second in range(0, int(seconds) + 1, step)},
    )


def _lanes(spans: Sequence[Span]) -> list[int]:
    """Assigns each span the first lane, from 0, in which no earlier span overlaps with it."""
    lanes: list[list[Span]] = []
    lane_of = []
    for span in spans:
        free = (
            lane
            for lane, others in enumerate(lanes)
            if all(span.end <= other.start or other.end <= span.start for other in others)
        )
        lane = next(free, len(lanes))
        if lane == len(lanes):
            lanes.append([])
        lanes[lane].append(span)
        lane_of.append(lane)
    return lane_of
