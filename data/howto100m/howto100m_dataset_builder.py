"""TFDS builder of HowTo100M; README.md says which files it reads."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vtmask import files
from vtmask.datasets import mmpt_shards
from vtmask.datasets.builder import VideoTextBuilder, VideoTextConfig
from vtmask.datasets.entries import Entry, FeatureFile, Skipped, TimedTexts, Video
from vtmask.errors import UserError
from vtmask.files import json_stream, subtitles
from vtmask.files.subtitles import Subtitles
from vtmask.tokenizers import SentencePiece, Tokenizer, WordPiece

_LISTS = {"train": "how2_s3d_train.lst", "validation": "how2_s3d_val.lst"}
_TAGS = {"train": "train", "validation": "val"}  # split → its name in the shards

T = TypeVar("T")


@dataclass(eq=False, kw_only=True)
class HowTo100MConfig(VideoTextConfig):
    """Options of a build.

    Attributes:
      captions: the file of all captions, `.json` or `.pkl`.
      shards: prefix of the caption shards' names, such as "raw_caption_dedup.bert-base-uncased". If
        given, the shards of captions and features in the folder `features` are read instead.
    """

    captions: str = "raw_caption.json"
    shards: str = ""
    deduplicate: bool = True


class Builder(VideoTextBuilder):
    """Instructional videos and their narration."""

    BUILDER_CONFIGS = [
        HowTo100MConfig(description="raw_caption.json, de-duplicated."),
        HowTo100MConfig(
            name="pickle",
            description="The same captions in raw_caption.pkl, de-duplicated.",
            captions="raw_caption.pkl",
        ),
        HowTo100MConfig(
            name="deduplicated",
            description="raw_caption_dedup.pkl, as it is.",
            captions="raw_caption_dedup.pkl",
            deduplicate=False,
        ),
        HowTo100MConfig(
            name="shards",
            description="MMPT's shards of features and token ids.",
            features=".",
            shards="raw_caption_dedup.bert-base-uncased",
            deduplicate=False,
        ),
    ]
    builder_config: HowTo100MConfig

    def splits(self, folder: Path) -> dict[str, Iterator[Entry]]:
        lists = read_lists(folder)
        if self.builder_config.shards:
            return self._from_shards(folder, lists)
        path = folder / self.builder_config.captions
        read = _reader(path)

        def make(video_id: str, value: Any) -> Entry:
            features = folder / self.builder_config.features / f"{video_id}.npy"
            return _entry(video_id, value, features, path.name)

        return {
            split: _listed(listed, read(), make, f"{path.name}: has no such video")
            for split, listed in lists.items()
        }

    def _from_shards(
        self, folder: Path, lists: dict[str, dict[str, None]]
    ) -> dict[str, Iterator[Entry]]:
        config = self.builder_config
        vocab_size = self._tokenizer(folder).vocab_size
        shards = {
            split: mmpt_shards.find(folder / config.features, _TAGS[split], config.shards)
            for split in lists
        }
        return {
            split: _listed(
                listed,
                mmpt_shards.videos(shards[split], vocab_size),
                mmpt_shards.entry,
                f"{_TAGS[split]}_meta.pkl: has no such video",
            )
            for split, listed in lists.items()
        }

    def _tokenizer(self, folder: Path) -> Tokenizer:
        exists = any((folder / kind.file_name).exists() for kind in (WordPiece, SentencePiece))
        if self.builder_config.shards and self._given_tokenizer is None and not exists:
            raise UserError(
                f"{folder / WordPiece.file_name}: no such file; shards hold only token ids, so "
                "copy the vocabulary that they were made with, or pass it as --tokenizer"
            )
        return super()._tokenizer(folder)


def read_lists(folder: Path) -> dict[str, dict[str, None]]:
    """Reads the video ids of each split, in order."""
    lists = {
        split: dict.fromkeys(files.read_lines(folder / name)) for split, name in _LISTS.items()
    }
    both = next((name for name in lists["validation"] if name in lists["train"]), None)
    if both is not None:
        raise UserError(
            f"{folder / _LISTS['validation']}: video {both} is in {_LISTS['train']}, too; remove "
            "it from one"
        )
    return lists


def _listed(
    listed: dict[str, None],
    videos: Iterable[tuple[str, T]],
    make: Callable[[str, T], Entry],
    not_found: str,
) -> Iterator[Entry]:
    """Yields the entries of listed videos as they are found, then the missing ones as skipped."""
    missing = dict(listed)
    for video_id, video in videos:
        if video_id in listed:
            missing.pop(video_id, None)
            yield make(video_id, video)
    for video_id in missing:
        yield Skipped(video_id, not_found)


def _reader(path: Path) -> Callable[[], Iterable[tuple[str, Any]]]:
    """Returns a function that iterates over all captions; JSON is re-read, in constant memory."""
    if path.suffix == ".json":
        return lambda: json_stream.members(path)
    if path.suffix != ".pkl":
        raise UserError(f"{path}: suffix is {path.suffix!r}, expected .json or .pkl")
    captions = files.read_pickle(path)
    if not isinstance(captions, dict):
        raise UserError(f"{path}: is {type(captions).__name__}, expected captions by video id")
    return captions.items


def _entry(video_id: str, value: Any, features: Path, where: str) -> Entry:
    try:
        captions, problems = _captions(value, where)
    except UserError as error:
        return Skipped(video_id, str(error))
    if not any(caption.text for caption in captions):
        return Skipped(video_id, f"{where}: has no captions of this video")
    return Video(video_id, FeatureFile(features), TimedTexts(captions), problems=problems)


def _captions(value: Any, where: str) -> Subtitles:
    """Reads a video's captions from a JSON value or, as in MMPT's pickles, from JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: captions are text, but not JSON") from error
    return subtitles.from_json(value, where)
