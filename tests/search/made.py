"""Makes videos and a small untrained model for them."""

import dataclasses
from pathlib import Path
from typing import Any

import in_memory
import numpy as np
from features import videos as made

from vtmask import export
from vtmask.features.pixel_statistics import PixelStatistics

RATE = 8


@dataclasses.dataclass(frozen=True)
class Made:
    """A user's files.

    Attributes:
      videos: folder of the videos.
      model: folder of the export.
      index: folder of the index that is made with both.
    """

    videos: Path
    model: Path
    index: Path


def write_video(path: Path, seconds: int, seed: int, **options: Any) -> Path:
    """Writes a video in which every second looks different."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(seed).integers(0, 256, seconds).repeat(RATE)
    return made.write(path, made.greys(levels.tolist()), rate=RATE, **options)


def write_videos(folder: Path) -> None:
    """Writes four videos with several kinds of names, containers and captions."""
    write_video(folder / "cake.mp4", 12, 1, sound=12.0)
    (folder / "cake.vtt").write_text(
        "WEBVTT\n\n00:01.000 --> 00:03.500\nbake the apple cake\n\n"
        "00:08.000 --> 00:10.000\n把红球转一圈\n"
    )
    write_video(folder / "garden" / "100% #1 'ünïcode'.mp4", 9, 2)
    write_video(folder / "old.avi", 20, 3, codec="mpeg4")
    (folder / "old.en.srt").write_text("1\n00:00:05,000 --> 00:00:07,000\nbaking is fun\n")
    write_video(folder / "short.mp4", 1, 4)


def write_model(folder: Path, **model_config: int) -> Path:
    extractor = PixelStatistics()
    model = in_memory.model(feature_size=extractor.size, max_video_len=8, **model_config)
    export.save(folder, dataclasses.replace(model, feature_extractor=extractor.name))
    return folder
