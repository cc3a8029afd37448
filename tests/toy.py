"""A small data set in the style of the published ones: captions in JSON, a folder of features."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vtmask import files
from vtmask.datasets import records
from vtmask.datasets.builder import VideoTextBuilder, VideoTextConfig
from vtmask.datasets.entries import (
    Entry,
    FeatureFile,
    FeatureLabels,
    Skipped,
    Texts,
    TimedTexts,
    Video,
)
from vtmask.files.subtitles import Caption


class Toy(VideoTextBuilder):
    """A data set with every kind of field, in two splits."""

    BUILDER_CONFIGS = [VideoTextConfig(feature_size=4, vocab_size=60)]

    def annotations(self) -> dict[str, Any]:
        return {
            "steps": records.timed_texts() | {"label": records.integers()},
            "choices": records.texts() | {"correct": np.int32},
            "labels": records.integers(),
        }

    def splits(self, folder: Path) -> dict[str, Iterator[Entry]]:
        return {split: self._entries(folder, split) for split in ("train", "test")}

    def _entries(self, folder: Path, split: str) -> Iterator[Entry]:
        for video_id, cues in files.read_json(folder / f"{split}.json").items():
            if not cues:
                yield Skipped(video_id, "not annotated")
                continue
            lines = [Caption(*line) for line in cues]
            yield Video(
                video_id,
                FeatureFile(folder / self.builder_config.features / f"{video_id}.npy"),
                TimedTexts(lines),
                ["a description", " "],
                {
                    "steps": TimedTexts(lines, labels=range(1, len(lines) + 1)),
                    "choices": Texts(["yes", "no"], {"correct": 1}),
                    "labels": FeatureLabels([(start, end, 1) for start, end, _ in lines]),
                },
            )
