"""TFDS builder of ActivityNet Captions; README.md says which files it reads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vtmask import files
from vtmask.datasets import records
from vtmask.datasets.builder import VideoTextBuilder
from vtmask.datasets.entries import Entry, FeatureFile, Moments, Skipped, TimedTexts, Video
from vtmask.errors import UserError
from vtmask.files import activitynet
from vtmask.files.subtitles import Caption

_SPLITS = ("train", "val_1", "val_2")


class Builder(VideoTextBuilder):
    """Videos with timed sentences, which together form a paragraph."""

    def annotations(self) -> dict[str, Any]:
        return {"clips": records.timed_texts(), "moments": records.moments()}

    def splits(self, folder: Path) -> dict[str, Iterator[Entry]]:
        paths = {name: folder / f"{name}.json" for name in _SPLITS}
        paths = {name: path for name, path in paths.items() if path.exists()}
        if not paths:
            names = ", ".join(f"{name}.json" for name in _SPLITS)
            raise UserError(f"{folder}: has none of {names}; add at least one")
        return {split: self._entries(folder, path) for split, path in paths.items()}

    def _entries(self, folder: Path, path: Path) -> Iterator[Entry]:
        videos = files.read_json(path)
        if not isinstance(videos, dict):
            raise UserError(f"{path}: is {type(videos).__name__}, expected videos by id")
        for video_id, record in videos.items():
            try:
                lines = read_lines(record, path.name)
            except UserError as error:
                yield Skipped(video_id, str(error))
                continue
            texts = [line.text for line in lines]
            yield Video(
                video_id,
                FeatureFile(folder / self.builder_config.features / f"{video_id}.npy"),
                descriptions=[" ".join(" ".join(texts).split())],
                annotations={
                    "clips": TimedTexts(lines),
                    "moments": Moments(texts, [[(line.start, line.end)] for line in lines]),
                },
            )


def read_lines(record: Any, where: str) -> list[Caption]:
    """Reads the sentences of a record with their times, in file order."""
    sentences = files.field(record, "sentences", list, where)
    times = files.field(record, "timestamps", list, where)
    if len(sentences) != len(times):
        raise UserError(f"{where}: has {len(sentences)} sentences, but {len(times)} timestamps")
    lines = []
    for number, (sentence, time) in enumerate(zip(sentences, times, strict=True)):
        item = {"sentence": sentence, "segment": time}
        start, end = activitynet.segment(item, f"{where}: timestamp {number}")
        text = files.field(item, "sentence", str, f"{where}: sentence {number}")
        lines.append(Caption(start, end, text))
    return lines
