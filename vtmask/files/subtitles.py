"""Subtitle files to captions: SubRip (.srt), WebVTT (.vtt) and JSON."""

import html
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vtmask.errors import UserError
from vtmask.files.text import field, read_json, read_text


class Caption(NamedTuple):
    """A text and when it is said, in seconds from the video's first frame."""

    start: float
    end: float
    text: str


Line = tuple[int, str]  # number in the file, from 1, and text

_TIME = r"(?:([0-9]{1,4}):)?([0-5]?[0-9]):([0-5]?[0-9])(?:[.,]([0-9]{1,9}))?"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<[0-9:.]+>|\{\\[^{}]*\}")
_COMMENT = re.compile(r"(NOTE|STYLE|REGION)(\s|$)")
_EXPECTED = "expected times such as 00:01:02.500 --> 00:01:04.000"


def read(path: str | Path) -> list[Caption]:
    """The captions of a file, in its order; empty ones and impossible times included.

    Tags are removed and HTML entities replaced; each run of white space becomes one space. Clean
    the captions with `vtmask.datasets.captions.clean`.

    Raises:
      UserError: another suffix, text that is neither UTF-8 nor UTF-16 with a byte-order mark, or
        lines that are no subtitles; the message names file and line.
    """
    readers = {".srt": _read_srt, ".vtt": _read_vtt, ".json": _read_json}
    suffix = Path(path).suffix.lower()
    if suffix not in readers:
        raise UserError(f"{path}: suffix is {suffix!r}, expected {' or '.join(readers)}")
    return readers[suffix](path)


def from_json(value: Any, where: str) -> list[Caption]:
    """Captions from the usual forms of JSON.

    Args:
      value: a list of objects with `start` and `end` in seconds and `text`; an object with such a
        list in `segments` (Whisper); or one with lists `start`, `end` and `text` (HowTo100M, where
        a text may be null or NaN for none: that gives an empty caption).
      where: file and record, for the error.
    """
    if isinstance(value, dict) and "segments" in value:
        value = field(value, "segments", list, where)
    if isinstance(value, list):
        return [_from_object(item, f"{where}: caption {i}") for i, item in enumerate(value)]
    columns = {name: field(value, name, list, where) for name in Caption._fields}
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{length} of {name!r}" for name, length in lengths.items())
        raise UserError(f"{where}: has {told}, expected as many of each")
    return [
        _from_object(dict(zip(columns, row, strict=True)), f"{where}: caption {i}")
        for i, row in enumerate(zip(*columns.values(), strict=True))
    ]


def _from_object(item: Any, where: str) -> Caption:
    start, end = field(item, "start", float, where), field(item, "end", float, where)
    nothing = "text" in item and (item["text"] is None or item["text"] != item["text"])
    text = "" if nothing else field(item, "text", str, where)
    return Caption(start, end, " ".join(text.split()))


def _read_json(path: str | Path) -> list[Caption]:
    return from_json(read_json(path), str(path))


def _read_srt(path: str | Path) -> list[Caption]:
    # Blank lines and counters are often missing, so that only times tell where a caption starts.
    lines = [line for line in _lines(path) if line[1].strip()]
    before, captions = _captions(path, lines)
    for number, text in before:
        if not text.strip().isdigit():
            raise UserError(f"{path}: line {number}: is {text[:40]!r}, {_EXPECTED}")
    return captions


def _read_vtt(path: str | Path) -> list[Caption]:
    blocks = list(_blocks(_lines(path)))
    if not blocks or not re.match(r"WEBVTT(\s|$)", blocks[0][0][1]):
        raise UserError(f"{path}: line 1: expected WEBVTT; is it another kind of file?")
    captions = []
    for block in blocks[1:]:
        if _COMMENT.match(block[0][1]):
            continue
        before, found = _captions(path, block)
        if not found or len(before) > 1:
            number, text = block[0]
            raise UserError(f"{path}: line {number}: is {text[:40]!r}, {_EXPECTED}")
        captions += found
    return captions


def _lines(path: str | Path) -> list[Line]:
    return list(enumerate(re.split(r"\r\n|\r|\n", read_text(path)), 1))


def _blocks(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Runs of lines that are not empty; YouTube has captions with lines of one space."""
    block: list[Line] = []
    for line in [*lines, (0, "")]:
        if line[1]:
            block.append(line)
        elif block:
            yield block
            block = []


def _captions(path: str | Path, lines: Sequence[Line]) -> tuple[list[Line], list[Caption]]:
    """The lines before the first times, and the captions from there on."""
    firsts = [i for i, (_, text) in enumerate(lines) if "-->" in text]
    captions = []
    for first, following in itertools.pairwise([*firsts, len(lines)]):
        start, end = _times(path, lines[first])
        texts = lines[first + 1 : following]
        if texts and following < len(lines) and _is_counter(texts[-1], lines[following]):
            texts = texts[:-1]
        captions.append(Caption(start, end, _plain(text for _, text in texts)))
    return list(lines[: firsts[0]] if firsts else lines), captions


def _is_counter(line: Line, times: Line) -> bool:
    """Whether the line right above the times numbers the caption."""
    return line[0] + 1 == times[0] and line[1].strip().isdigit()


def _times(path: str | Path, line: Line) -> tuple[float, float]:
    number, text = line
    match = _TIMES.fullmatch(text)
    if not match:
        raise UserError(f"{path}: line {number}: times are {text[:60]!r}, {_EXPECTED}")
    parts = match.groups()
    return _seconds(*parts[:4]), _seconds(*parts[4:])


def _seconds(hours: str | None, minutes: str, seconds: str, decimals: str | None) -> float:
    whole = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)
    return float(f"{whole}.{decimals or 0}")


def _plain(lines: Iterator[str]) -> str:
    return " ".join(html.unescape(_TAG.sub("", " ".join(lines))).split())
