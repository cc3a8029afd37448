"""What the TFDS builders under `data/` have in common: annotations and features in, records out.

A builder says what a data set's files hold, as `Video`s by split; everything else happens here,
the same way for every data set: features are read and checked, captions cleaned, de-duplicated and
tokenised, videos that can't be used skipped, counted and listed in a report. It runs in one process
or on Apache Beam, with the same output.
"""

import dataclasses
import inspect
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import tensorflow_datasets as tfds

from vtmask import features as video_features
from vtmask import files, tokenizers
from vtmask.datasets import captions, records, report
from vtmask.datasets.report import Counts
from vtmask.errors import UserError
from vtmask.files.subtitles import Caption
from vtmask.tokenizers import Tokenizer

_LINES_TO_TRAIN_ON = 1_000_000


class Duration(NamedTuple):
    """How long a video is.

    Attributes:
      features: how many it has.
      seconds_per_feature: how long each is.
    """

    features: int
    seconds_per_feature: float

    @property
    def seconds(self) -> float:
        return self.features * self.seconds_per_feature

    def place(self, time: float) -> float:
        """The time within the video that is nearest to `time`, counted in features."""
        inside = min(max(time, 0.0), self.seconds)
        return round(inside / self.seconds_per_feature, 6)  # 0.3 / 0.1 is 2.9999999999999996


class FeatureSource(Protocol):
    """Where a video's features come from. It is pickled and sent to Beam's workers."""

    def read(self) -> np.ndarray:
        """Features [rows, size]; a UserError names the file that can't be read."""


@dataclass(frozen=True)
class FeatureFile:
    """A `.npy` file, [rows, size]."""

    path: Path

    def read(self) -> np.ndarray:
        return files.read_array(self.path)


@dataclass(frozen=True)
class VideoFile:
    """A video file, whose features are extracted when they are read.

    Attributes:
      extractor: name of one in `vtmask.features`.
    """

    path: Path
    extractor: str

    def read(self) -> np.ndarray:
        return video_features.extract(self.path, video_features.create(self.extractor))


class Annotation(Protocol):
    """A field of a record that depends on the tokenizer or the video's length."""

    def encode(self, tokenizer: Tokenizer, duration: Duration, problems: Counter[str]) -> Any:
        """The field's value; what had to be dropped or cut is counted in `problems`."""


@dataclass(frozen=True)
class Texts:
    """Texts without times, `vtmask.datasets.records.texts`, and what the field has beside them."""

    lines: Sequence[str]
    beside: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def encode(
        self, tokenizer: Tokenizer, duration: Duration, problems: Counter[str]
    ) -> dict[str, Any]:
        return records.encode_texts(tokenizer, self.lines) | dict(self.beside)


@dataclass(frozen=True)
class Value:
    """A number or a text, as it is."""

    value: Any

    def encode(self, tokenizer: Tokenizer, duration: Duration, problems: Counter[str]) -> Any:
        return self.value


@dataclass(frozen=True)
class TimedTexts:
    """Texts with times, `vtmask.datasets.records.timed_texts`, cleaned and in order of their start.

    Attributes:
      labels: a class of each line, for a field that has `label`.
      tokens: ids of each line, where texts are known by these alone; those of `lines` are not read.
    """

    lines: Sequence[Caption]
    labels: Sequence[int] | None = None
    tokens: Sequence[Sequence[int]] | None = None

    def encode(
        self, tokenizer: Tokenizer, duration: Duration, problems: Counter[str]
    ) -> dict[str, Any]:
        lines = self.lines
        if self.tokens is not None:
            _check_ids(self.tokens, tokenizer)
            texts = map(tokenizer.decode, self.tokens)
            lines = [line._replace(text=text) for line, text in zip(lines, texts, strict=True)]
        kept = []
        for index, line in enumerate(lines):
            clean, found = captions.clean([line], duration.seconds)
            problems += found
            kept += [(caption, index) for caption in clean]
        kept.sort()
        encoded = records.encode_timed_texts(tokenizer, [caption for caption, _ in kept])
        order = [index for _, index in kept]
        if self.tokens is not None:
            encoded |= records.join_tokens([self.tokens[i] for i in order])
        if self.labels is not None:
            encoded["label"] = np.array([self.labels[i] for i in order], np.int32)
        return encoded


def _check_ids(tokens: Sequence[Sequence[int]], tokenizer: Tokenizer) -> None:
    highest = max((max(ids) for ids in tokens if len(ids)), default=0)
    if highest >= tokenizer.vocab_size:
        raise UserError(
            f"token id {highest} in a caption, but the tokenizer has {tokenizer.vocab_size} ids; "
            "give the tokenizer that the captions were made with"
        )


@dataclass(frozen=True)
class FeatureLabels:
    """A class for every feature of a video, int32 [features].

    Attributes:
      steps: (start, end, class), in seconds; a feature that a step touches has its class, the last
        one's where several do, and 0 where none does.
    """

    steps: Sequence[tuple[float, float, int]]

    def encode(
        self, tokenizer: Tokenizer, duration: Duration, problems: Counter[str]
    ) -> np.ndarray:
        labels = np.zeros(duration.features, np.int32)
        for start, end, label in self.steps:
            labels[math.floor(duration.place(start)) : math.ceil(duration.place(end))] = label
        return labels


@dataclass(frozen=True)
class Video:
    """What the annotations say of a video.

    Attributes:
      captions: its narration.
      descriptions: sentences about the whole of it.
      annotations: the record's other fields.
      file: path of the video file, for reports and browsers, or "".
      problems: how many captions were dropped or repaired while its files were read, by kind.
      unread: the files that were left out, a line each: which and why.
    """

    video_id: str
    features: FeatureSource
    captions: TimedTexts = TimedTexts(())
    descriptions: Sequence[str] = ()
    annotations: Mapping[str, Annotation] = dataclasses.field(default_factory=dict)
    file: str = ""
    problems: Counter[str] = dataclasses.field(default_factory=Counter)
    unread: Sequence[str] = ()


@dataclass(frozen=True)
class Skipped:
    """A video that the annotations list but that can't be used, and why."""

    video_id: str
    reason: str


Entry = Video | Skipped
Example = tuple[str, dict[str, Any]]


@dataclass(eq=False, kw_only=True)
class VideoTextConfig(tfds.core.BuilderConfig):
    """How records are made.

    Attributes:
      features: folder of the features; relative to the manual folder. What a features.json in it
        says must be so.
      feature_size: width of a feature.
      seconds_per_feature: how much of a video a feature is of: 0.5 where there are two a second.
      feature_extractor: name of what made the features; a model runs on the same only.
      deduplicate: free captions from the repetitions of rolling subtitles, by the published rule.
      vocab_size: of the tokenizer trained on the texts where none is given.
      seed: of the choices of de-duplication.
    """

    name: str = "default"
    features: str = "features"
    feature_size: int = 512
    seconds_per_feature: float = 1.0
    feature_extractor: str = "s3d-howto100m"
    deduplicate: bool = False
    vocab_size: int = 8000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.seconds_per_feature < math.inf:
            raise UserError(
                f"--config: field 'seconds_per_feature' is {self.seconds_per_feature}, expected a "
                "finite number above 0"
            )

    def check_card(self, folder: Path) -> None:
        """UserError where the card of the features in the folder says otherwise than the config."""
        where = str(folder / files.CARD)
        if os.path.exists(where):
            card = files.read_json(where)
            self.require(
                where,
                feature_extractor=files.field(card, "feature_extractor", str, where),
                feature_size=files.field(card, "feature_size", int, where),
                seconds_per_feature=files.field(card, "seconds_per_feature", float, where),
            )

    def require(self, where: str, **made: str | float) -> None:
        """UserError unless the features `where` were made as this config's fields say."""
        differing = {name: value for name, value in made.items() if value != getattr(self, name)}
        if differing:
            theirs = ", ".join(f"{name} {value!r}" for name, value in differing.items())
            ours = ", ".join(repr(getattr(self, name)) for name in differing)
            mended = json.dumps(differing, ensure_ascii=False)[1:-1]
            raise UserError(
                f"{where}: features have {theirs}, the config says {ours}; set {mended} in --config"
            )


class VideoTextBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A TFDS builder whose subclass only reads annotations: `splits` and, if any, `annotations`.

    The tokenizer is the one given, or `tokenizer.model` or `vocab.txt` in the manual folder, or
    else is trained on the train split. Next to the shards lie the tokenizer and build_report.json
    and .html, which list every skipped video.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = "The README.md next to the builder says which files it needs."
    BUILDER_CONFIGS: ClassVar[list[VideoTextConfig]] = [VideoTextConfig()]
    builder_config: VideoTextConfig

    def __init__(self, *, tokenizer: str | None = None, file_format: Any = None, **kwargs: Any):
        """`tokenizer` is a file or folder, as `vtmask.tokenizers.load` takes it."""
        self._given_tokenizer = tokenizer
        self._on_beam = False
        super().__init__(file_format=file_format or "array_record", **kwargs)

    def __init_subclass__(cls, skip_registration: bool = False, **kwargs: Any) -> None:
        # TFDS would work these out with importlib_resources, which it does not install.
        cls.code_path = tfds.core.Path(inspect.getfile(cls))
        cls.pkg_dir_path = cls.code_path.parent
        super().__init_subclass__(skip_registration=skip_registration, **kwargs)

    def splits(self, folder: Path) -> Mapping[str, Iterable[Entry]]:
        """The videos of each split, from the files in the manual folder; read lazily.

        Raises:
          UserError: a file is missing or is not what it should be.
        """
        raise NotImplementedError

    def annotations(self) -> dict[str, Any]:
        """The fields that this data set's records have beside those of all."""
        return {}

    def metadata(self) -> dict[str, Any]:
        """What this data set adds to metadata.json."""
        return {}

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        return self.dataset_info_from_configs(
            features=records.features(config.feature_size, **self.annotations()),
            metadata=tfds.core.MetadataDict(
                feature_extractor=config.feature_extractor,
                feature_size=config.feature_size,
                seconds_per_feature=float(config.seconds_per_feature),
                **self.metadata(),
            ),
        )

    def download_and_prepare(self, *, download_config: Any = None, **kwargs: Any) -> None:
        """As TFDS's; a pipeline of `download_config` has the work done on Apache Beam."""
        if download_config is not None:
            self._on_beam = bool(download_config.beam_options or download_config.beam_runner)
        super().download_and_prepare(download_config=download_config, **kwargs)
        report.write(Path(self.data_path), self.info.full_name)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        folder = Path(dl_manager.manual_dir)
        config = self.builder_config
        config.check_card(folder / config.features)
        tokenizer = self._tokenizer(folder)
        tokenizer.save(self.data_path)
        self.info.metadata["tokenizer"] = tokenizer.file_name
        self.info.metadata["tokenizer_sha256"] = tokenizer.sha256
        maker = RecordMaker(
            tokenizer,
            config.feature_size,
            config.seconds_per_feature,
            config.deduplicate,
            config.seed,
        )
        return {
            split: self._generate_examples(split, once_each(entries), maker)
            for split, entries in self.splits(folder).items()
        }

    def _tokenizer(self, folder: Path) -> Tokenizer:
        if self._given_tokenizer is not None:
            return tokenizers.load(self._given_tokenizer)
        for name in ("tokenizer.model", "vocab.txt"):
            if (folder / name).exists():
                return tokenizers.load(folder / name)
        train = next(iter(self.splits(folder).values()))
        lines = islice(_lines(train), _LINES_TO_TRAIN_ON)
        try:
            return tokenizers.train(lines, self.builder_config.vocab_size)
        except UserError as error:
            raise UserError(f"{folder}: {error}") from error

    def _generate_examples(self, split: str, entries: Iterable[Entry], maker: "RecordMaker") -> Any:
        """Id and record of every usable video: an iterator, or a Beam transform."""
        folder = report.working_folder(Path(self.data_path), split)
        if self._on_beam:
            from vtmask.datasets import beam

            return beam.Examples(entries, maker, folder)
        return _examples(entries, maker, folder)


@dataclass(frozen=True)
class RecordMaker:
    """Makes a record of a video and counts what became of it.

    Beam's workers get a pickled one and may lack the builder's module: it holds nothing of that.
    """

    tokenizer: Tokenizer
    feature_size: int
    seconds_per_feature: float
    deduplicate: bool
    seed: int

    def __call__(self, entry: Entry) -> tuple[Example | None, Counts]:
        if isinstance(entry, Skipped):
            return None, Counts(skipped=[(entry.video_id, entry.reason)])
        unread = [(entry.video_id, file) for file in entry.unread]
        counts = Counts(videos=1, unread=unread, problems=entry.problems.copy())
        try:
            return (entry.video_id, self._record(entry, counts)), counts
        except UserError as error:
            return None, Counts(skipped=[(entry.video_id, str(error))])

    def _record(self, video: Video, counts: Counts) -> dict[str, Any]:
        where = f"video {video.video_id}"
        features = files.check_features(where, video.features.read(), self.feature_size)
        duration = Duration(len(features), self.seconds_per_feature)
        described = [text for text in video.descriptions if text.strip()]
        counts.problems["empty description"] += len(video.descriptions) - len(described)
        return {
            "video_id": video.video_id,
            "video": video.file,
            "features": features,
            "captions": self._captions(video, duration, counts),
            "descriptions": records.encode_texts(self.tokenizer, described),
            **{
                name: annotation.encode(self.tokenizer, duration, counts.problems)
                for name, annotation in video.annotations.items()
            },
        }

    def _captions(self, video: Video, duration: Duration, counts: Counts) -> dict[str, Any]:
        encoded = video.captions.encode(self.tokenizer, duration, counts.problems)
        times = encoded["start"].tolist(), encoded["end"].tolist()
        said = list(map(Caption, *times, encoded["text"]))
        counts.before.add(said, duration.seconds)
        if not self.deduplicate:
            return encoded
        said = captions.deduplicate(said, captions.coin(self.seed, video.video_id))
        counts.after.add(said, duration.seconds)
        return records.encode_timed_texts(self.tokenizer, said)


def _examples(entries: Iterable[Entry], maker: RecordMaker, folder: Path) -> Iterator[Example]:
    total = Counts()
    for entry in entries:
        example, counts = maker(entry)
        total += counts
        if example is not None:
            yield example
    total.write(folder)


def once_each(entries: Iterable[Entry]) -> Iterator[Entry]:
    seen = set()
    for entry in entries:
        if entry.video_id in seen:
            entry = Skipped(entry.video_id, "duplicate video id; the first one is kept")
        seen.add(entry.video_id)
        yield entry


def _lines(entries: Iterable[Entry]) -> Iterator[str]:
    """All texts, to train a tokenizer on."""
    for entry in entries:
        if isinstance(entry, Video):
            yield from entry.descriptions
            for field in (entry.captions, *entry.annotations.values()):
                if isinstance(field, TimedTexts):
                    yield from (line.text for line in field.lines)
                elif isinstance(field, Texts):
                    yield from field.lines
