"""Reads captions in JSON, in the layouts of the tools that write them."""

from collections import Counter
from pathlib import Path
from typing import Any

from vtmask.errors import UserError
from vtmask.files.subtitles.caption import OPEN_END, Caption, Subtitles
from vtmask.files.text import field
from vtmask.files.text import read_json as read_value

_LISTS = ("segments", "chunks", "transcription", "events")
_FORMS = (
    "a list of objects with start, end (or duration) and text, itself or in 'segments', 'chunks', "
    "'transcription' or 'events'; or an object of lists start, end and text"
)


def read_json(path: str | Path) -> Subtitles:
    """Reads the captions of a `.json` or `.json3` file, in one of the layouts of `from_json`."""
    return from_json(read_value(path), str(path))


def from_json(value: Any, where: str) -> Subtitles:
    """Reads captions in the usual JSON layouts; one that can't be read is dropped and counted.

    Args:
      value: a list of objects, or an object with such a list in `segments` (Whisper), `chunks`
        (Transformers pipelines), `transcription` (whisper.cpp) or `events` (YouTube's json3); or an
        object with lists `start`, `end` and `text` (HowTo100M). A text that is null or NaN becomes
        an empty caption. A null end becomes the next caption's start or, for the last caption, the
        video's end. Each object of a list has `text` and one of

        - `start` and `end`, or `start` and `duration` or `dur`, in seconds;
        - `timestamp`, a pair, in seconds;
        - `offsets` with `from` and `to`, in milliseconds.

        An event of json3 has `segs`, `tStartMs` and `dDurationMs` instead.
      where: file and record, for the error.

    Raises:
      UserError: the layout is unknown, or there are captions but none can be read.
    """
    items = _items(value, where)
    read: list[tuple[float, float | None, str]] = []
    problems: Counter[str] = Counter()
    first_error: UserError | None = None
    for i, item in enumerate(items):
        try:
            read.append(_caption(item, f"{where}: caption {i}"))
        except UserError as error:
            problems["caption with unreadable times or text, dropped"] += 1
            first_error = first_error or error
    if first_error and not read:
        raise first_error
    problems["caption without an end, given one"] += sum(end is None for _, end, _ in read)
    following = [*(start for start, _, _ in read[1:]), OPEN_END]
    captions = [
        Caption(start, max(start, after) if end is None else end, text)
        for (start, end, text), after in zip(read, following, strict=False)
    ]
    return Subtitles(captions, +problems)


def _items(value: Any, where: str) -> list[Any]:
    """Returns one object for each caption."""
    if isinstance(value, dict):
        name = next((name for name in _LISTS if name in value), None)
        if name:
            value = field(value, name, list, where)
            return value if name != "events" else [event for event in value if _is_said(event)]
        if not value.keys() & {"start", "end", "text"}:
            raise UserError(f"{where}: holds no captions; expected {_FORMS}")
    if isinstance(value, list):
        return value
    columns = {name: field(value, name, list, where) for name in Caption._fields}
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{length} of {name!r}" for name, length in lengths.items())
        raise UserError(f"{where}: has {counts}, expected equal numbers")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _is_said(event: Any) -> bool:
    """Whether a json3 event is a caption; other events place windows or break lines."""
    if not isinstance(event, dict) or "tStartMs" not in event:
        return True
    segments = event.get("segs", [])
    return not isinstance(segments, list) or any(
        not isinstance(segment, dict) or str(segment.get("utf8", "")).strip()
        for segment in segments
    )


def _caption(item: Any, where: str) -> tuple[float, float | None, str]:
    start, end = _times(item, where)
    if "segs" in item:
        parts = field(item, "segs", list, where)
        text = "".join(field(part, "utf8", str, where) for part in parts)
    else:
        nothing = "text" in item and (item["text"] is None or item["text"] != item["text"])
        text = "" if nothing else field(item, "text", str, where)
    return start, end, " ".join(text.split())


def _times(item: Any, where: str) -> tuple[float, float | None]:
    keys = item.keys() if isinstance(item, dict) else set()
    if "timestamp" in keys:
        pair = field(item, "timestamp", list, where)
        if len(pair) != 2:
            raise UserError(f"{where}: field 'timestamp' has {len(pair)} items, expected 2")
        item = {"start": pair[0], "end": pair[1]}
    elif "offsets" in keys:
        offsets = field(item, "offsets", dict, where)
        return field(offsets, "from", float, where) / 1000, field(
            offsets, "to", float, where
        ) / 1000
    elif "tStartMs" in keys:
        start = field(item, "tStartMs", float, where) / 1000
        return start, start + field(item, "dDurationMs", float, where) / 1000
    start = field(item, "start", float, where)
    if "end" in item and item["end"] is None:
        return start, None
    length = next(
        (name for name in ("duration", "dur") if name in item and "end" not in item), None
    )
    if length:
        return start, start + field(item, length, float, where)
    return start, field(item, "end", float, where)
