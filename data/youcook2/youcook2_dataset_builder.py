"""TFDS builder of YouCook2; README.md says which files it reads."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_datasets as tfds

from vtmask import files
from vtmask.datasets import records
from vtmask.datasets.builder import VideoTextBuilder, VideoTextConfig
from vtmask.datasets.entries import Entry, FeatureFile, Skipped, TimedTexts, Value, Video
from vtmask.errors import UserError
from vtmask.files import activitynet
from vtmask.files.subtitles import Caption

_ANNOTATIONS = "youcookii_annotations_trainval.json"
_SUBSETS = {"training": "train", "validation": "validation"}
_LISTS = {"train": "train_list.txt", "validation": "val_list.txt"}
_PICKLES = {"train": "youcook_train.pkl", "validation": "youcook_val.pkl"}
_CLIP_ID = re.compile(r"(.+)_([0-9]{1,6})")  # video ids may have underscores, too


class PickledClip(NamedTuple):
    """A clip: its index among the video's annotations, and its caption without stop words."""

    place: int
    caption: str


Chosen = Mapping[str, Sequence[PickledClip] | None]
"""Video id → clips, for a split; None stands for all annotated clips."""


@dataclass(eq=False, kw_only=True)
class YouCook2Config(VideoTextConfig):
    """Options of a build.

    Attributes:
      pickles: use only the videos and clips of HowTo100M's youcook_train.pkl and youcook_val.pkl.
      pickled_captions: use their captions, which lack stop words, instead of annotated sentences.
    """

    pickles: bool = False
    pickled_captions: bool = False


class Builder(VideoTextBuilder):
    """Cooking videos with a sentence for each clip."""

    BUILDER_CONFIGS = [
        YouCook2Config(description="All annotated videos."),
        YouCook2Config(
            name="howto100m-pickles",
            description="The clips with which HowTo100M and VLM measure retrieval.",
            pickles=True,
        ),
        YouCook2Config(
            name="howto100m-pickles-captions",
            description="The same clips with HowTo100M's captions, which lack the stop words.",
            pickles=True,
            pickled_captions=True,
        ),
    ]
    builder_config: YouCook2Config

    def annotations(self) -> dict[str, Any]:
        return {"clips": records.timed_texts(), "recipe": tfds.features.Text()}

    def splits(self, folder: Path) -> dict[str, Iterator[Entry]]:
        path = folder / _ANNOTATIONS
        database = activitynet.read(path)
        subsets = {
            video_id: activitynet.split_of(record, _SUBSETS, f"{path}: video {video_id}")
            for video_id, record in database.items()
        }
        chosen = self._chosen(folder, subsets)
        unused = [
            video_id for video_id in database if not any(video_id in c for c in chosen.values())
        ]
        return {
            split: self._entries(
                folder, database, videos, [name for name in unused if subsets[name] == split]
            )
            for split, videos in chosen.items()
        }

    def _chosen(self, folder: Path, subsets: Mapping[str, str]) -> dict[str, Chosen]:
        if self.builder_config.pickles:
            return {split: read_clips(folder / name) for split, name in _PICKLES.items()}
        if (folder / "splits").exists():
            return {split: read_list(folder / "splits" / name) for split, name in _LISTS.items()}
        return {
            split: {video_id: None for video_id, subset in subsets.items() if subset == split}
            for split in _SUBSETS.values()
        }

    def _entries(
        self, folder: Path, database: Mapping[str, Any], chosen: Chosen, unused: Iterable[str]
    ) -> Iterator[Entry]:
        for video_id, clips in chosen.items():
            if video_id in database:
                yield self._entry(folder, video_id, database[video_id], clips)
            else:
                yield Skipped(video_id, f"{_ANNOTATIONS}: has no such video")
        where = "pickle" if self.builder_config.pickles else "list of a split"
        for video_id in unused:
            yield Skipped(video_id, f"annotated, but in no {where}")

    def _entry(
        self, folder: Path, video_id: str, record: Any, clips: Sequence[PickledClip] | None
    ) -> Entry:
        try:
            lines = self._lines(record, clips)
            recipe = files.field(record, "recipe_type", (str, int), _ANNOTATIONS)
        except UserError as error:
            return Skipped(video_id, str(error))
        return Video(
            video_id,
            FeatureFile(folder / self.builder_config.features / f"{video_id}.npy"),
            annotations={"clips": TimedTexts(lines), "recipe": Value(str(recipe))},
        )

    def _lines(self, record: Any, clips: Sequence[PickledClip] | None) -> list[Caption]:
        lines = [
            _line(annotation, f"{_ANNOTATIONS}: annotation {index}")
            for index, annotation in enumerate(
                files.field(record, "annotations", list, _ANNOTATIONS)
            )
        ]
        if not lines:
            raise UserError(f"{_ANNOTATIONS}: has no annotation of this video")
        if clips is None:
            return lines
        last = max(clip.place for clip in clips)
        if last >= len(lines):
            raise UserError(
                f"{_ANNOTATIONS}: has annotations 0 to {len(lines) - 1}, but the pickle {last}"
            )
        if self.builder_config.pickled_captions:
            return [lines[clip.place]._replace(text=clip.caption) for clip in clips]
        return [lines[clip.place] for clip in clips]


def _line(annotation: Any, where: str) -> Caption:
    sentence = files.field(annotation, "sentence", str, where)
    return Caption(*activitynet.segment(annotation, where), sentence)


def read_list(path: Path) -> Chosen:
    """Reads the videos of a split list, whose lines are RECIPE/VIDEO."""
    chosen: dict[str, None] = {}
    for line in files.read_lines(path):
        recipe, _, video_id = line.partition("/")
        if not (recipe and video_id) or "/" in video_id:
            raise UserError(f"{path}: has the line {line[:60]!r}, expected RECIPE/VIDEO")
        chosen[video_id] = None
    return chosen


def read_clips(path: Path) -> Chosen:
    """Reads the clips in a pickle of HowTo100M, by video.

    The pickle is a list of dicts: `id` is VIDEO_INDEX, `caption` is a text, and features are
    ignored.
    """
    clips = files.read_pickle(path)
    if not isinstance(clips, list):
        raise UserError(f"{path}: is {type(clips).__name__}, expected a list of clips")
    chosen: dict[str, list[PickledClip]] = defaultdict(list)
    for number, clip in enumerate(clips):
        where = f"{path}: clip {number}"
        name = files.field(clip, "id", str, where)
        match = _CLIP_ID.fullmatch(name)
        if not match:
            raise UserError(f"{where}: field 'id' is {name[:60]!r}, expected VIDEO_INDEX")
        caption = files.field(clip, "caption", str, where)
        chosen[match[1]].append(PickledClip(int(match[2]), caption))
    return chosen
