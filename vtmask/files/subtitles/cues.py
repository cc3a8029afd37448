"""Subtitles whose cues are lines of text under a line of times: SubRip, WebVTT and YouTube's SBV.

WebVTT is read by the rules of its specification (https://www.w3.org/TR/webvtt1/#file-parsing): a
line with times starts a cue wherever it stands, and a block without times is not a cue. If that
would lose words that clearly belong to a cue, the cue is repaired instead. SubRip has no
specification; it is read the same way, except that text after an empty line stays with its cue.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from vtmask.errors import UserError
from vtmask.files.subtitles.caption import Caption, Subtitles, plain
from vtmask.files.text import read_text

_EXPECTED = "expected times such as 00:01:02.500 --> 00:01:04.000"
# Spaces around the colons come from machine translation.
_TIME = r"(-?)(?:([0-9]{1,4})\s?:\s?)?([0-9]{1,2})\s?:\s?([0-9]{1,2})(?:\s?[.,]\s?([0-9]{1,9}))?"
_TIMES = re.compile(rf"\s*{_TIME}\s*(-{{1,3}}\s?>|[–—→]>?)\s*{_TIME}(\s.*)?")
_SETTINGS = re.compile(r"\s*([A-Za-z][A-Za-z0-9]*:.*)?")
_SBV_TIMES = re.compile(rf"\s*({_TIME})\s*,\s*({_TIME})\s*")
_LIKE_TIME = re.compile(r"\s*[-+]?[0-9]+\s?[:.,]\s?[0-9]")
_NUMBER = re.compile(r"(#?)\s*([0-9]{1,9})")
_HEADER = re.compile(r"WEBVTT(\s|$)")
_COMMENT = re.compile(r"(NOTE|STYLE|REGION)(\s|$)")

_BAD_TIMES = "cue with unreadable times, dropped"
_NO_TIMES = "text without times, dropped"
_LONE_NUMBER = "cue number without a cue, dropped"
_SIXTY = "time of 60 seconds or minutes, carried over"
_ARROW = "arrow other than -->, read as one"
_ODD_NUMBER = "cue number with #, read as a number"
_BLANK_LINE = "empty line in a cue, its text joined"
_ARROW_TEXT = "--> without times, kept as text"
_BESIDE = "text beside the times of a cue, kept"


def read_srt(path: str | Path) -> Subtitles:
    lines = _lines(path)
    return _read(path, lines, _header(lines))


def read_vtt(path: str | Path) -> Subtitles:
    lines = _lines(path)
    header = _header(lines)
    if header is None:
        raise UserError(f"{path}: line 1: expected WEBVTT; is it another kind of file?")
    return _read(path, lines, header)


def read_sbv(path: str | Path) -> Subtitles:
    lines = [line.replace("[br]", " ") for line in _lines(path)]
    times = map(_SBV_TIMES.fullmatch, lines)
    with_arrows = [
        f"{match[1]} --> {match[7]}" if match else line
        for match, line in zip(times, lines, strict=True)
    ]
    return _read(path, with_arrows, None)


def _seconds(sign: str, hours: str | None, minutes: str, secs: str, decimals: str | None) -> float:
    whole = int(hours or 0) * 3600 + int(minutes) * 60 + int(secs)
    return float(f"{sign}{whole}.{decimals or 0}")


def _lines(path: str | Path) -> list[str]:
    # \r\r\n is a line ending that was converted twice.
    return re.split(r"\r{0,2}\n|\r", read_text(path))


def _header(lines: Sequence[str]) -> int | None:
    """Returns the index of the WEBVTT line, or None if the file does not begin with one."""
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    return first if _HEADER.match(lines[first]) else None


def _read(path: str | Path, lines: Sequence[str], header: int | None) -> Subtitles:
    problems: Counter[str] = Counter()
    webvtt = header is not None
    firsts = [i for i in range(len(lines)) if _starts_cue(lines, i)]
    labels = _Labels(webvtt, problems)
    heading = lines[0 if header is None else header + 1 : firsts[0] if firsts else None]
    if firsts:
        heading = labels.take(heading)
    strays = _webvtt_blocks(heading)[1] if webvtt else _blocks(heading)
    if strays and not firsts and not _all_numbers(strays):
        line = strays[0][0]
        raise UserError(f"{path}: line {lines.index(line) + 1}: is {line[:40]!r}, {_EXPECTED}")
    problems[_NO_TIMES] += len(strays)
    captions = []
    for first, following in pairwise([*firsts, len(lines)]):
        times = _times(lines[first], problems)
        body = lines[first + 1 : following]
        body = labels.take(body) if following < len(lines) else labels.take_last(body)
        if webvtt:
            body = _webvtt_text(body, problems)
        else:
            body = _subrip_text(lines[first], body, problems)
        if times:
            problems[_ARROW_TEXT] += sum("-->" in line for line in body)
            captions.append(Caption(*times, plain(body)))
    if firsts and not captions:
        bad = lines[firsts[0]]
        raise UserError(f"{path}: line {firsts[0] + 1}: times are {bad[:60]!r}, {_EXPECTED}")
    return Subtitles(captions, +problems)


def _starts_cue(lines: Sequence[str], i: int) -> bool:
    """Whether the line has times, or something in their place."""
    line = lines[i]
    if _TIMES.fullmatch(line):
        return True
    sides = line.split("-->")
    numbered = i > 0 and bool(_NUMBER.fullmatch(lines[i - 1].strip()))
    return len(sides) > 1 and (numbered or any(map(_LIKE_TIME.match, sides)))


def _times(line: str, problems: Counter[str]) -> tuple[float, float] | None:
    match = _TIMES.fullmatch(line)
    largest = max(int(match[i]) for i in (3, 4, 9, 10)) if match else math.inf
    if not match or largest > 60:
        problems[_BAD_TIMES] += 1
        return None
    problems[_SIXTY] += largest == 60  # 59.9996, rounded
    problems[_ARROW] += match[6] != "-->"
    return _seconds(*match.groups()[:5]), _seconds(*match.groups()[6:11])


@dataclass
class _Labels:
    """Removes the label above a cue's times: its number or, in WebVTT, its name.

    Attributes:
      last: the number of the previous cue; NaN if it has none.
      apart: whether empty lines separate the first number from its times; None before that number.
    """

    webvtt: bool
    problems: Counter[str]
    last: float = math.nan
    apart: bool | None = None

    def take(self, above: Sequence[str]) -> Sequence[str]:
        """Returns the lines between the previous cue's times and this one's, without the label."""
        apart, self.apart = self.apart, bool(self.apart)
        place = _last_text(above)
        if place is None:
            return above
        adjacent = place == len(above) - 1
        # YouTube puts a line of one space above a text; it does not separate text and times.
        spaces = all(line.isspace() for line in above[:place])
        alone = not (spaces or above[place - 1].strip())
        number = _NUMBER.fullmatch(above[place].strip())
        if number and (
            apart is None
            or int(number[2]) == self.last + 1
            # Otherwise the number may be text of the previous cue.
            or (place > 0 and (apart or (adjacent and (alone or not math.isnan(self.last)))))
        ):
            self.apart = not adjacent if apart is None else apart
            self.last = int(number[2])
            self.problems[_ODD_NUMBER] += bool(number[1])
        elif not (self.webvtt and adjacent and alone):
            return above
        return above[:place]

    def take_last(self, below: Sequence[str]) -> Sequence[str]:
        """Returns the lines below the last times, without the number that the file may end in."""
        place = _last_text(below)
        if not place:
            return below
        number = _NUMBER.fullmatch(below[place].strip())
        if not number or int(number[2]) != self.last + 1 or below[place - 1].strip():
            return below
        self.problems[_LONE_NUMBER] += 1
        return below[:place]


def _last_text(lines: Sequence[str]) -> int | None:
    """Returns the index of the last line that is not blank, or None."""
    return next((i for i in reversed(range(len(lines))) if lines[i].strip()), None)


def _all_numbers(blocks: Sequence[Sequence[str]]) -> bool:
    return all(_NUMBER.fullmatch(line.strip()) for block in blocks for line in block)


def _blocks(lines: Sequence[str]) -> list[list[str]]:
    """Splits lines into runs without blank lines."""
    blocks: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    return blocks if blocks[-1] else blocks[:-1]


def _subrip_text(times: str, body: Sequence[str], problems: Counter[str]) -> Sequence[str]:
    end = _last_text(body)
    if end is not None:
        problems[_BLANK_LINE] += "" in body[: end + 1]
        return body
    match = _TIMES.fullmatch(times)
    if not match or _SETTINGS.fullmatch(match[12] or ""):
        return []
    problems[_BESIDE] += 1
    return [match[12]]


def _webvtt_text(body: Sequence[str], problems: Counter[str]) -> Sequence[str]:
    text, strays = _webvtt_blocks(body)
    if not strays or any(line.strip() for line in text):
        problems[_NO_TIMES] += len(strays)
        return text
    problems[_BLANK_LINE] += 1
    return [line for block in strays for line in block]


def _webvtt_blocks(lines: Sequence[str]) -> tuple[Sequence[str], list[list[str]]]:
    """Returns the lines up to the first empty one, and the later blocks that are not comments.

    A line of one space does not end a cue, since YouTube writes such lines inside cues, unless a
    comment follows: Netflix writes them between blocks.
    """
    end = len(lines)
    for i, line in enumerate(lines):
        if not line or (not line.strip() and any(map(_COMMENT.match, lines[i + 1 : i + 2]))):
            end = i
            break
    return lines[:end], [block for block in _blocks(lines[end:]) if not _COMMENT.match(block[0])]
