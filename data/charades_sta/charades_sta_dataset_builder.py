"""TFDS builder of Charades-STA; README.md says which files it reads."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vtmask import files
from vtmask.datasets import records
from vtmask.datasets.builder import VideoTextBuilder
from vtmask.datasets.entries import Entry, FeatureFile, Moments, Skipped, TimedTexts, Video
from vtmask.errors import UserError
from vtmask.files.subtitles import Caption

_FILES = {"train": "charades_sta_train.txt", "test": "charades_sta_test.txt"}
_LINE = re.compile(r"(\S+) (\d+(?:\.\d+)?) (\d+(?:\.\d+)?)##(.+)")


class Builder(VideoTextBuilder):
    """Half-minute videos with timed sentences."""

    def annotations(self) -> dict[str, Any]:
        return {"clips": records.timed_texts(), "moments": records.moments()}

    def splits(self, folder: Path) -> dict[str, Iterator[Entry]]:
        return {split: self._entries(folder, folder / name) for split, name in _FILES.items()}

    def _entries(self, folder: Path, path: Path) -> Iterator[Entry]:
        for video_id, lines in read(path).items():
            if isinstance(lines, UserError):
                yield Skipped(video_id, str(lines))
                continue
            yield Video(
                video_id,
                FeatureFile(folder / self.builder_config.features / f"{video_id}.npy"),
                annotations={
                    "clips": TimedTexts(lines),
                    "moments": Moments(
                        [line.text for line in lines], [[(line.start, line.end)] for line in lines]
                    ),
                },
            )


def read(path: Path) -> dict[str, list[Caption] | UserError]:
    """Reads the sentences of each video, in file order, or the error if one can't be read."""
    videos: dict[str, list[Caption] | UserError] = {}
    for line in files.read_lines(path):
        match = _LINE.fullmatch(line)
        video_id = line.split(" ", 1)[0]
        lines = videos.setdefault(video_id, [])
        if isinstance(lines, UserError):
            continue
        if match is None:
            videos[video_id] = UserError(
                f"{path.name}: has the line {line[:60]!r}, expected VIDEO START END##SENTENCE"
            )
        else:
            _, start, end, text = match.groups()
            lines.append(Caption(float(start), float(end), text))
    return videos
