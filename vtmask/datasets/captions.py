"""Checks timed captions, removes the repetitions of rolling subtitles, and counts words."""

import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from vtmask.files import is_unicode
from vtmask.files.subtitles import Caption

_INSTANT = 1e-3  # seconds
_AT_ONCE = 0.1  # seconds
_SURELY_SHOWN = 3  # a run of this many words rarely repeats by chance


def clean(captions: Iterable[Caption], seconds: float) -> tuple[list[Caption], Counter[str]]:
    """Returns captions fit for a record, ordered by start, and counts what was dropped or cut.

    Times are cut to the video. A sampler would do the same, so no clip changes. Each run of white
    space in a text becomes one space.

    Args:
      seconds: length of the video.

    Returns:
      The captions, with 0 <= start < seconds and start <= end <= seconds; and problem → number of
      captions ("empty caption": 3). A caption has at most one problem.
    """
    kept: list[Caption] = []
    problems: Counter[str] = Counter()
    for caption in captions:
        start, end, text = caption.start, caption.end, _one_line(caption.text)
        if not text:
            problems["empty caption"] += 1
        elif not is_unicode(text):
            problems["caption with half of a surrogate pair"] += 1
        elif not (math.isfinite(start) and math.isfinite(end)):
            problems["caption without finite times"] += 1
        elif end < start:
            problems["caption ends before it starts"] += 1
        elif start < 0 and end <= 0:
            problems["caption before the video's start"] += 1
        elif start >= seconds:
            problems["caption beyond the video's end"] += 1
        else:
            if start < 0:
                problems["caption cut at the video's start"] += 1
            elif end > seconds:
                problems["caption cut at the video's end"] += 1
            kept.append(Caption(max(start, 0.0), min(end, float(seconds)), text))
    return sorted(kept, key=lambda caption: caption.start), problems


def unroll(captions: Iterable[Caption]) -> tuple[list[Caption], Counter[str]]:
    """Removes repeated lines from rolling captions, so that every spoken word occurs once.

    A caption that begins with the last lines of the previous caption keeps only its other words. If
    it shows nothing new and follows at once, it extends the previous caption; if it comes later,
    its words were said again, and it stays. Complete lines are compared, so a sentence that begins
    with the last word of the previous one loses nothing.

    Returns:
      The captions ordered by start, and how many of them repeated lines.
    """
    kept: list[Caption] = []
    problems: Counter[str] = Counter()
    screen: list[list[str]] = []  # the words of each line that the previous caption shows
    end, last = -math.inf, 0  # when it ends, and the index in `kept` of its last line
    for caption in sorted(captions, key=lambda caption: caption.start):
        words = caption.text.split()
        if not words:
            kept.append(caption)
            continue
        screen = _shown_again(screen, words)
        if sum(map(len, screen)) == len(words) and caption.start > end + _AT_ONCE:
            screen = []
        problems["lines of a rolling caption shown again, removed"] += bool(screen)
        new_words = words[sum(map(len, screen)) :]
        if new_words:
            screen, last = [*screen, new_words], len(kept)
            kept.append(caption._replace(text=" ".join(new_words)))
        else:
            kept[last] = kept[last]._replace(end=max(kept[last].end, caption.end))
        end = caption.end
    return kept, +problems


def _shown_again(screen: list[list[str]], words: list[str]) -> list[list[str]]:
    """Returns the longest run of last lines on the screen that the words begin with."""
    for lines in (screen[first:] for first in range(len(screen))):
        above = list(chain.from_iterable(lines))
        if words[: len(above)] == above:
            return lines
    # If captions are missing, two lines may have come at once and count as one here.
    shown = list(chain.from_iterable(screen))
    lengths = range(min(len(shown), len(words)), _SURELY_SHOWN - 1, -1)
    again = next((n for n in lengths if shown[-n:] == words[:n]), 0)
    return [words[:again]] if again else []


def deduplicate(captions: Iterable[Caption], into_previous: Callable[[], bool]) -> list[Caption]:
    """Removes repeated words from rolling subtitles, by the rule of the published preprocessing.

    The rule was inferred from its results. It compares a caption with the previous one kept:

    - The previous ends with the text: the previous is extended to the later end.
    - The text begins with the complete previous caption: one caption with this text spans both.
    - The previous ends with letters that the text begins with: the shortest such run goes to one of
      the two. If the previous keeps it, the previous lasts at least until the text starts, and the
      text starts when the previous ends; otherwise the previous ends when the text starts.

    Letters are compared, not words: "golden brown" and then "now" share an "n". Empty texts are
    left out.

    Args:
      captions: ordered by start.
      into_previous: draws, for each such overlap, whether the previous caption keeps it.
    """
    kept: list[Caption] = []
    for start, end, text in captions:
        text = _one_line(text)
        if not text:
            continue
        if not kept:
            kept.append(Caption(start, end, text))
            continue
        before = kept.pop()
        if before.text.endswith(text):
            kept.append(before._replace(end=max(before.end, end)))
        elif text.startswith(before.text):
            kept.append(Caption(min(before.start, start), max(before.end, end), text))
        else:
            kept += _separate(before, Caption(start, end, text), into_previous)
    return kept


def _separate(
    before: Caption, after: Caption, into_previous: Callable[[], bool]
) -> tuple[Caption, Caption]:
    lengths = range(1, min(len(before.text), len(after.text)))
    shared = next((n for n in lengths if before.text.endswith(after.text[:n])), 0)
    if not shared:
        return before, after
    if into_previous():
        border = max(before.end, after.start)
        rest = after.text[shared:].strip()
        return before._replace(end=border), Caption(border, max(after.end, border), rest)
    border = max(before.start, min(before.end, after.start))
    return Caption(before.start, border, before.text[:-shared].strip()), after


def coin(seed: int, video_id: str) -> Callable[[], bool]:
    """Returns a fair coin for `deduplicate` whose throws depend only on the seed and the video."""
    rng = np.random.default_rng([seed, zlib.crc32(video_id.encode())])
    return lambda: bool(rng.integers(2))


def _one_line(text: str) -> str:
    return " ".join(text.split())


@dataclass
class Figure:
    """The distribution of one figure, in constant memory.

    Attributes:
      width: width of a histogram bin, in the figure's unit.
      counts: number of values in [i * width, (i + 1) * width); the last bin also holds all above.
      total: sum in millionths of the unit; a sum of integers does not depend on their order.
    """

    width: float
    counts: list[int] = field(default_factory=lambda: [0] * 60)
    count: int = 0
    total: int = 0
    least: float = math.inf
    most: float = -math.inf

    def add(self, value: float) -> None:
        """Counts a value that is not negative."""
        self.counts[min(int(value / self.width), len(self.counts) - 1)] += 1
        self.count += 1
        self.total += round(value * 1e6)
        self.least = min(self.least, value)
        self.most = max(self.most, value)

    def __add__(self, other: "Figure") -> "Figure":
        return Figure(
            self.width,
            [a + b for a, b in zip(self.counts, other.counts, strict=True)],
            self.count + other.count,
            self.total + other.total,
            min(self.least, other.least),
            max(self.most, other.most),
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the count, mean, minimum, maximum (None without values) and histogram."""
        some = self.count > 0
        return {
            "count": self.count,
            "mean": self.total / (self.count * 10**6) if some else None,
            "min": self.least if some else None,
            "max": self.most if some else None,
            "bin_width": self.width,
            "histogram": self.counts,
        }


def _figures() -> dict[str, Figure]:
    """Returns empty figures. A value describes a video unless the name says otherwise."""
    return {
        "video_seconds": Figure(20.0),
        "caption_seconds": Figure(20.0),
        "captions": Figure(10.0),
        "seconds_per_caption": Figure(0.5),
        "words_per_video_second": Figure(0.1),
        "words_per_caption_second": Figure(0.2),
    }


@dataclass
class Statistics:
    """Statistics of the captions of any number of videos; `+` combines two.

    The seconds of a caption count from its start or from the end of the previous caption, whichever
    is later; `caption_seconds` is their sum in a video. Words are separated by spaces. A video that
    lasts less than a millisecond, or whose captions do, has no words per second.
    """

    figures: dict[str, Figure] = field(default_factory=_figures)

    def add(self, captions: Sequence[Caption], seconds: float) -> None:
        """Adds a video's clean captions; `seconds` is the video's length."""
        lengths = []
        previous_end = 0.0
        for caption in captions:
            lengths.append(max(0.0, caption.end - max(caption.start, previous_end)))
            previous_end = caption.end
        words = sum(len(caption.text.split()) for caption in captions)
        spoken = sum(lengths)
        self.figures["video_seconds"].add(seconds)
        self.figures["caption_seconds"].add(spoken)
        self.figures["captions"].add(len(captions))
        for length in lengths:
            self.figures["seconds_per_caption"].add(length)
        if seconds >= _INSTANT:
            self.figures["words_per_video_second"].add(words / seconds)
        if spoken >= _INSTANT:
            self.figures["words_per_caption_second"].add(words / spoken)

    def __add__(self, other: "Statistics") -> "Statistics":
        return Statistics(
            {name: figure + other.figures[name] for name, figure in self.figures.items()}
        )

    def to_json(self) -> dict[str, Any]:
        """Returns name → `Figure.to_json`."""
        return {name: figure.to_json() for name, figure in self.figures.items()}
