"""TFDS builder of a folder of videos; README.md says which files it reads."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from vtmask import features, files
from vtmask.datasets.builder import VideoTextBuilder, VideoTextConfig
from vtmask.datasets.captions import unroll
from vtmask.datasets.entries import Entry, FeatureFile, Skipped, TimedTexts, Video, VideoFile
from vtmask.errors import UserError
from vtmask.features.listing import VIDEO_SUFFIXES, walk
from vtmask.files import subtitles
from vtmask.files.subtitles import Subtitles

_SPLITS = ("train", "validation", "test")
_FEATURES = (".npy",)
_CAPTIONS = (".json", ".srt", ".vtt", ".json3", ".sbv", ".ass", ".ssa", ".lrc")  # the best first
_OTHER_CAPTIONS = (
    *(".dfxp", ".idx", ".mpl", ".sami", ".scc", ".smi", ".srv1", ".srv2", ".srv3", ".stl", ".sub"),
    *(".sup", ".tsv", ".ttml"),
)
_DESCRIPTIONS = (".txt",)
_TEXTS = _CAPTIONS + _OTHER_CAPTIONS + _DESCRIPTIONS
# A tokenizer's vocabulary, the card of features, and yt-dlp's information about a video.
_OTHERS = re.compile(r"vocab\.txt|(.*/)?(features|[^/]+\.info)\.json", re.DOTALL)
_LANGUAGE = re.compile(r"(.+)\.([a-z]{2,3}(?:-[a-z0-9]+)*)", re.IGNORECASE | re.DOTALL)


@dataclass(eq=False, kw_only=True)
class FolderConfig(VideoTextConfig):
    """Options of a build.

    Attributes:
      features: folder of the `.npy` files, relative to the manual folder; by default that folder.
      feature_extractor: the extractor of the `.npy` files, used for videos without one.
      language: of the captions, as in file names: "en" takes `NAME.en.vtt`, then `NAME.en-US.vtt`,
        then `NAME.vtt`. "" takes `NAME.vtt`, then the alphabetically first language.
      rolling: whether captions repeat their last lines, as YouTube's automatic captions do; each
        line is then kept once.
    """

    features: str = "."
    feature_extractor: str = "pixel-statistics-v1"
    language: str = ""
    rolling: bool = False


@dataclass
class VideoFiles:
    """The files of one video id.

    Attributes:
      captions: the language in the file's name, or "", and the file.
      others: captions of kinds that are not read.
    """

    features: list[Path] = field(default_factory=list)
    videos: list[Path] = field(default_factory=list)
    captions: list[tuple[str, Path]] = field(default_factory=list)
    descriptions: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)

    def paths(self) -> list[Path]:
        captions = [path for _, path in self.captions]
        return self.features + self.videos + captions + self.descriptions


class Builder(VideoTextBuilder):
    """Videos or features in a folder, with the captions and descriptions beside them."""

    BUILDER_CONFIGS = [FolderConfig(description="Features by pixel-statistics-v1.")]
    builder_config: FolderConfig

    def splits(self, folder: Path) -> dict[str, Iterator[Entry]]:
        folder = Path(os.path.abspath(folder))
        by_id = find(folder, folder / self.builder_config.features)
        self._check_extractor(by_id)
        ids: dict[str, list[str]] = {split: [] for split in (*_SPLITS, "")}
        for video_id in sorted(by_id):
            top, _, rest = video_id.partition("/")
            ids[top if rest and top in _SPLITS else ""].append(video_id)
        outside = ids.pop("")
        ids = {split: names for split, names in ids.items() if names}
        if not ids:
            return {"train": self._entries(by_id, outside)}
        entries = {split: self._entries(by_id, names) for split, names in ids.items()}
        first = next(iter(ids))
        lost = (Skipped(name, f"lies outside the folders {', '.join(_SPLITS)}") for name in outside)
        return entries | {first: chain(entries[first], lost)}

    def _check_extractor(self, by_id: Mapping[str, VideoFiles]) -> None:
        config = self.builder_config
        path = next((f.videos[0] for f in by_id.values() if f.videos and not f.features), None)
        if path is None:
            return
        try:
            extractor = features.create(config.feature_extractor)
        except UserError as error:
            if any(f.features for f in by_id.values()):
                return  # videos without features are skipped
            raise UserError(
                f"{path}: its features can't be extracted: {error}; give them as a .npy file"
            ) from error
        config.require(
            f"{path}, by {extractor.name}",
            feature_size=extractor.size,
            seconds_per_feature=extractor.window.seconds,
        )

    def _entries(
        self, by_id: Mapping[str, VideoFiles], video_ids: Iterable[str]
    ) -> Iterator[Entry]:
        return (self._entry(video_id, by_id[video_id]) for video_id in video_ids)

    def _entry(self, video_id: str, video: VideoFiles) -> Entry:
        if not files.is_unicode("".join(map(str, video.paths()))):
            return Skipped(video_id, "file name is not UTF-8; rename it")
        for paths in (video.features, video.videos, video.descriptions):
            if len(paths) > 1:
                return Skipped(video_id, f"{_listed(paths)}: have the same name; keep one of them")
        if not (video.features or video.videos):
            return Skipped(video_id, f"{_listed(video.paths())}: without a video or features")
        (captions, problems), unread = self._captions(video)
        descriptions = []
        for path in video.descriptions:
            try:
                descriptions += files.read_lines(path)
            except UserError as error:
                unread.append(str(error))
        source = (
            FeatureFile(video.features[0])
            if video.features
            else VideoFile(video.videos[0], self.builder_config.feature_extractor)
        )
        file = str(video.videos[0]) if video.videos else ""
        return Video(
            video_id,
            source,
            TimedTexts(captions),
            descriptions,
            file=file,
            problems=problems,
            unread=unread,
        )

    def _captions(self, video: VideoFiles) -> tuple[Subtitles, list[str]]:
        """Reads the captions of the best file that has any; lists files left out, and why."""
        unread = []
        ranked = _ranked(video.captions, self.builder_config.language)
        for path in ranked:
            try:
                captions, problems = subtitles.read(path)
            except UserError as error:
                unread.append(str(error))
                continue
            if captions and self.builder_config.rolling:
                captions, repeated = unroll(captions)
                problems += repeated
            if captions:
                return Subtitles(captions, problems), unread
        if video.captions and not ranked:
            paths = [path for _, path in video.captions]
            unread.append(f"{_listed(paths)}: not in the language of the config")
        unread += [f"{path.name}: captions of this kind are not supported" for path in video.others]
        return Subtitles([], Counter()), unread


def _ranked(captions: Iterable[tuple[str, Path]], language: str) -> list[Path]:
    """Returns the files in a language, or all if it is "", the best first."""

    def rank(caption: tuple[str, Path]) -> tuple[bool, str, int, Path]:
        tag, path = caption
        kind = _CAPTIONS.index(path.suffix.lower())
        return (bool(language) and not tag, tag.lower(), kind, path)

    def is_accepted(tag: str) -> bool:
        return not (tag and language) or f"{tag}-".lower().startswith(f"{language}-".lower())

    return [path for tag, path in sorted(captions, key=rank) if is_accepted(tag)]


def find(folder: Path, features_folder: Path) -> dict[str, VideoFiles]:
    """Finds the files of each video; its id is their path without suffix and captions' language.

    Args:
      folder: videos, captions and descriptions.
      features_folder: `.npy` files with the same ids.

    Raises:
      UserError: a folder can't be read, or there is neither a video nor a `.npy` file.
    """
    by_id: dict[str, VideoFiles] = defaultdict(VideoFiles)
    for name, suffix, path in walk(features_folder):
        if suffix in _FEATURES:
            by_id[name].features.append(path)
    texts = []
    for name, suffix, path in walk(folder):
        if suffix in VIDEO_SUFFIXES:
            by_id[name].videos.append(path)
        elif suffix in _TEXTS and not _OTHERS.fullmatch(name + suffix):
            texts.append((name, suffix, path))
    if not by_id:
        suffixes = " ".join(VIDEO_SUFFIXES)
        raise UserError(f"{folder}: holds neither videos ({suffixes}) nor features (.npy)")
    videos = set(by_id)
    for name, suffix, path in texts:
        if suffix in _DESCRIPTIONS:
            by_id[name].descriptions.append(path)
            continue
        language = ""
        tagged = _LANGUAGE.fullmatch(name)
        if name not in videos and tagged and tagged[1] in videos:
            name, language = tagged.groups()
        if suffix in _CAPTIONS:
            by_id[name].captions.append((language, path))
        elif name in videos:
            by_id[name].others.append(path)
    return dict(by_id)


def _listed(paths: Iterable[Path]) -> str:
    return ", ".join(path.name for path in paths)
