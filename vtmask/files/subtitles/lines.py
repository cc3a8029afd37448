"""Subtitles with times and text on one line: Advanced SubStation Alpha and timed lyrics (LRC)."""

import re
from bisect import bisect_right
from collections import Counter
from pathlib import Path

from vtmask.errors import UserError
from vtmask.files.subtitles.caption import OPEN_END, Caption, Subtitles, plain
from vtmask.files.text import read_text

_ASS_COLUMNS = [
    *("layer", "start", "end", "style", "name"),
    *("marginl", "marginr", "marginv", "effect", "text"),
]
_ASS_TIME = re.compile(r"([0-9]{1,4}):([0-5]?[0-9]):([0-5]?[0-9](?:\.[0-9]{1,9})?)")
_OVERRIDE = re.compile(r"\{[^{}]*\}")
_DRAWING = re.compile(r"\{[^{}]*\\p[1-9]")
_STAMP = r"\[\s*([0-9]{1,4}):([0-9]{1,2}(?:[.:][0-9]{1,3})?)\s*\]"
_STAMPED = re.compile(rf"((?:\s*{_STAMP})+)(.*)")
_LRC_TAG = re.compile(r"\[([a-zA-Z#][^\[\]:]*):([^\[\]]*)\]")


def read_ass(path: str | Path) -> Subtitles:
    """Reads the dialogue of an `.ass` or `.ssa` file; comments and drawings are left out."""
    section, columns = "", _ASS_COLUMNS
    captions: list[Caption] = []
    problems: Counter[str] = Counter()
    bad, dialogues = "", 0
    text = read_text(path)
    for number, line in enumerate(text.splitlines(), 1):
        key, _, rest = line.partition(":")
        if line.lstrip().startswith("["):
            section = line.strip().lower()
        elif section == "[events]" and key.strip() == "Format":
            columns = [name.strip().lower() for name in rest.split(",")]
        elif section == "[events]" and key.strip() == "Dialogue":
            dialogues += 1
            fields = dict(zip(columns, rest.split(",", len(columns) - 1), strict=False))
            start, end = (_ASS_TIME.fullmatch(fields.get(k, "").strip()) for k in ("start", "end"))
            if not start or not end or "text" not in fields:
                problems["cue with unreadable times, dropped"] += 1
                bad = bad or f"line {number}: is {line[:60]!r}, expected Dialogue: 0,0:00:01.00,…"
            elif _DRAWING.search(fields["text"]):
                problems["drawing, dropped"] += 1
            else:
                text = re.sub(r"\\[Nnh]", " ", _OVERRIDE.sub("", fields["text"]))
                captions.append(Caption(_ass_seconds(start), _ass_seconds(end), plain([text])))
    if text.strip() and section != "[events]" and not dialogues:
        bad = bad or "line 1: expected a section [Events] with lines of Dialogue"
    if bad and not captions:
        raise UserError(f"{path}: {bad}")
    return Subtitles(captions, problems)


def _ass_seconds(match: re.Match[str]) -> float:
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])


def read_lrc(path: str | Path) -> Subtitles:
    """Reads lyrics: a line lasts until the next begins; a time without text ends a line."""
    problems: Counter[str] = Counter()
    lines: list[tuple[float, str]] = []
    earlier = 0.0
    first_bad = ""
    for number, line in enumerate(read_text(path).splitlines(), 1):
        stamped, tag = _STAMPED.fullmatch(line), _LRC_TAG.fullmatch(line.strip())
        if stamped:
            text = plain([stamped[4]])
            lines += [(_lrc_seconds(*stamp), text) for stamp in re.findall(_STAMP, stamped[1])]
        elif tag:
            if tag[1].lower() == "offset" and re.fullmatch(r"\s*[-+]?[0-9]{1,9}\s*", tag[2]):
                earlier = int(tag[2]) / 1000
        elif line.strip():
            problems["text without times, dropped"] += 1
            first_bad = first_bad or f"line {number}: is {line[:40]!r}, expected [00:12.50] text"
    if first_bad and not lines:
        raise UserError(f"{path}: {first_bad}")
    lines.sort(key=lambda line: line[0])
    starts = [start - earlier for start, _ in lines]
    later = [*starts, OPEN_END]
    captions = [
        Caption(start, later[bisect_right(starts, start)], text)
        for start, (_, text) in zip(starts, lines, strict=True)
        if text
    ]
    problems["caption without an end, given one"] += sum(
        caption.end == OPEN_END for caption in captions
    )
    return Subtitles(captions, +problems)


def _lrc_seconds(minutes: str, seconds: str) -> float:
    return int(minutes) * 60 + float(seconds.replace(":", "."))
