"""TFDS builder of tables with one text per row; README.md says which files it reads."""

import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from vtmask.datasets import records
from vtmask.datasets.builder import VideoTextBuilder, VideoTextConfig
from vtmask.datasets.entries import (
    Entry,
    FeatureFile,
    Skipped,
    TimedTexts,
    Video,
    VideoFile,
)
from vtmask.datasets.grouping import Groups, Row
from vtmask.errors import UserError
from vtmask.features.listing import VIDEO_SUFFIXES
from vtmask.files import table_stream
from vtmask.files.subtitles import Caption

_SPLIT = re.compile(r"\w+")
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)")


@dataclass(eq=False, kw_only=True)
class ManifestConfig(VideoTextConfig):
    """Options of a build.

    Attributes:
      tables: pattern for the tables in the manual folder; "" takes all with a table's suffix.
      video: column with the video's id or the path of its file or features; "" if each table has
        the texts of one video and its name.
      text: column with the text.
      start, end: columns with a text's times, as seconds or hours:minutes:seconds; "" if texts
        describe complete videos.
      split: column with the split; "" puts everything into train.
      extra: columns that are kept with each text.
    """

    tables: str = ""
    video: str = "video"
    text: str = "text"
    start: str = ""
    end: str = ""
    split: str = ""
    extra: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.start) != bool(self.end):
            raise UserError("--config: fields 'start' and 'end' go together; set both or neither")
        if isinstance(self.extra, str) or not all(isinstance(name, str) for name in self.extra):
            raise UserError("--config: field 'extra' is not a list of columns")
        known = {*records.timed_texts(), self.video, self.text, self.start, self.end, self.split}
        taken = [name for name in self.extra if name in known or not _SPLIT.fullmatch(name)]
        if taken or len(set(self.extra)) < len(self.extra):
            raise UserError(
                f"--config: field 'extra' is {list(self.extra)}, expected other columns than those "
                f"of {', '.join(sorted(filter(None, known)))}, each once, of letters and digits"
            )
        if self.extra and self.deduplicate:
            raise UserError(
                "--config: field 'extra' can't be combined with 'deduplicate', which joins "
                "captions; remove one"
            )

    @property
    def columns(self) -> list[str]:
        named = (self.video, self.text, self.start, self.end, self.split, *self.extra)
        return list(dict.fromkeys(filter(None, named)))


class Builder(VideoTextBuilder):
    """Videos from tables with one text per row."""

    BUILDER_CONFIGS = [ManifestConfig(description="Columns video and text.")]
    builder_config: ManifestConfig

    def annotations(self) -> dict[str, Any]:
        config = self.builder_config
        text = tfds.features.Sequence(tfds.features.Text())
        extra = dict.fromkeys(config.extra, text)
        if config.start:
            return {"captions": records.timed_texts() | extra}
        return {"descriptions": records.texts() | extra}

    def splits(self, folder: Path) -> dict[str, Iterator[Entry]]:
        config = self.builder_config
        batches = (batch for path in find(folder, config.tables) for batch in self._read(path))
        groups = Groups(batches, config.video, config.split or None)
        names = groups.values if config.split else ("train",)
        for name in names:
            if not _SPLIT.fullmatch(name):
                raise UserError(
                    f"{folder}: column {config.split!r} has {name[:60]!r}, expected a split's name "
                    "of letters and digits"
                )
        entry = partial(self._entry, folder)
        return {name: (entry(video, rows) for video, rows in groups.read(name)) for name in names}

    def _read(self, path: Path) -> Iterator[Any]:
        config = self.builder_config
        for batch in table_stream.read(path, config.columns):
            if not config.video:
                batch = batch.append_column(config.video, [path.stem] * len(batch))
            yield batch

    def _entry(self, folder: Path, name: str, rows: list[Row]) -> Entry:
        config = self.builder_config
        if not name:
            return Skipped("", f"{len(rows)} rows: column {config.video!r} is empty")
        stem, suffix = os.path.splitext(name)
        is_video = suffix.lower() in VIDEO_SUFFIXES
        video_id = stem if is_video or suffix == ".npy" else name
        array = folder / config.features / f"{video_id}.npy"
        file = str(folder / name) if is_video and (folder / name).exists() else ""
        source = (
            VideoFile(folder / name, config.feature_extractor)
            if file and not array.exists()
            else FeatureFile(array)
        )
        extra = {column: [row[column] for row in rows] for column in config.extra}
        if not config.start:
            texts = [row[config.text] for row in rows]
            return Video(video_id, source, descriptions=texts, file=file, extra=extra)
        lines = [
            Caption(_seconds(row[config.start]), _seconds(row[config.end]), row[config.text])
            for row in rows
        ]
        return Video(video_id, source, TimedTexts(lines, extra=extra), file=file)


def find(folder: Path, pattern: str) -> list[Path]:
    """Finds the tables in a folder, in the order of their names."""
    tables = sorted(
        path for path in folder.glob(pattern or "*") if path.suffix in table_stream.SUFFIXES
    )
    if not tables:
        suffixes = " ".join(table_stream.SUFFIXES)
        raise UserError(f"{folder}: has no table ({suffixes}) named {pattern or '*'!r}")
    return tables


def _seconds(time: str) -> float:
    """Parses a number of seconds or hours:minutes:seconds; NaN if it is neither."""
    clock = _CLOCK.fullmatch(time.strip())
    if clock:
        hours, minutes, seconds = clock.groups()
        return int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds)
    try:
        return float(time)
    except ValueError:
        return math.nan
