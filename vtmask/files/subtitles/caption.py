"""The captions that every subtitle reader returns."""

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
    """A text, and when it is spoken, in seconds from the video's first frame."""

    start: float
    end: float
    text: str


class Subtitles(NamedTuple):
    """The captions of a file, and the problems in it.

    Attributes:
      captions: in file order, including empty ones and those with impossible times.
      problems: kind of problem → number of cues or lines that were dropped or repaired.
    """

    captions: list[Caption]
    problems: Counter[str]


def plain(lines: Iterable[str]) -> str:
    """Joins lines into one, without tags; replaces entities and collapses white space."""
    text = _TAG.sub("", _BREAK.sub(" ", " ".join(lines)))
    return " ".join(html.unescape(text).split())
