"""What every reader of subtitles returns."""

import html
import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

OPEN_END = 1e9
"""End in seconds of a caption that lasts until the video ends; cleaning cuts it there."""

_BREAK = re.compile(r"<(?i:br)\s*/?>|\\N")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<[0-9:.]+>|\{\\[^{}]*\}")


class Caption(NamedTuple):
    """A text and when it is said, in seconds from the video's first frame."""

    start: float
    end: float
    text: str


class Subtitles(NamedTuple):
    """What a file says.

    Attributes:
      captions: in the file's order; empty ones and impossible times included.
      problems: how many cues or lines were dropped or repaired, by kind.
    """

    captions: list[Caption]
    problems: Counter[str]


def plain(lines: Iterable[str]) -> str:
    """The lines as one, without tags; entities are replaced and runs of white space are a space."""
    text = _TAG.sub("", _BREAK.sub(" ", " ".join(lines)))
    return " ".join(html.unescape(text).split())
