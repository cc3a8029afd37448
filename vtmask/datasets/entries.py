"""Entries of a data set, as builders yield them: videos, their feature sources and annotations."""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from vtmask import features as video_features
from vtmask import files
from vtmask.datasets import captions, records
from vtmask.errors import UserError
from vtmask.files.subtitles import Caption
from vtmask.tokenizers import Tokenizer


class Duration(NamedTuple):
    """The length of a video.

    Attributes:
      features: number of features.
      seconds_per_feature: length of each.
    """

    features: int
    seconds_per_feature: float

    @property
    def seconds(self) -> float:
        return self.features * self.seconds_per_feature

    def place(self, time: float) -> float:
        """Returns `time`, limited to the video, in units of features."""
        inside = min(max(time, 0.0), self.seconds)
        return round(inside / self.seconds_per_feature, 6)  # 0.3 / 0.1 is 2.9999999999999996


class FeatureSource(Protocol):
    """The source of a video's features. It is pickled and sent to Beam's workers."""

    def read(self) -> np.ndarray:
        """Reads features [rows, size]; a UserError names the file that can't be read."""


@dataclass(frozen=True)
class FeatureFile:
    """A `.npy` file, [rows, size]."""

    path: Path

    def read(self) -> np.ndarray:
        return files.read_array(self.path)


@dataclass(frozen=True)
class VideoFile:
    """A video file whose features are extracted when they are read.

    Attributes:
      extractor: name of an extractor, see `vtmask.features.create`.
    """

    path: Path
    extractor: str

    def read(self) -> np.ndarray:
        return video_features.extract(self.path, video_features.create(self.extractor))


class Annotation(Protocol):
    """A field of a record that depends on the tokenizer or the video's length."""

    def encode(self, tokenizer: Tokenizer, duration: Duration, problems: Counter[str]) -> Any:
        """Returns the field's value; counts in `problems` what had to be dropped or cut."""


@dataclass(frozen=True)
class Texts:
    """Texts without times, `vtmask.datasets.records.texts`.

    Attributes:
      extra: further values, by the name of their field.
    """

    lines: Sequence[str]
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def encode(
        self, tokenizer: Tokenizer, duration: Duration, problems: Counter[str]
    ) -> dict[str, Any]:
        return records.encode_texts(tokenizer, self.lines) | dict(self.extra)


@dataclass(frozen=True)
class Value:
    """A number or a text, unchanged."""

    value: Any

    def encode(self, tokenizer: Tokenizer, duration: Duration, problems: Counter[str]) -> Any:
        return self.value


@dataclass(frozen=True)
class TimedTexts:
    """Texts with times, `vtmask.datasets.records.timed_texts`, cleaned and ordered by start.

    Attributes:
      labels: the class of each line, for a field that has `label`.
      tokens: the token ids of each line, if the texts are known only as these; the texts of `lines`
        are then ignored.
      extra: further values of each line, by the name of their field.
    """

    lines: Sequence[Caption]
    labels: Sequence[int] | None = None
    tokens: Sequence[Sequence[int]] | None = None
    extra: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)

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
            clean, dropped = captions.clean([line], duration.seconds)
            problems += dropped
            kept += [(caption, index) for caption in clean]
        kept.sort(key=lambda pair: (pair[0].start, pair[0].end))  # stable: ties stay in file order
        encoded = records.encode_timed_texts(tokenizer, [caption for caption, _ in kept])
        order = [index for _, index in kept]
        if self.tokens is not None:
            encoded |= records.join_tokens([self.tokens[i] for i in order])
        if self.labels is not None:
            encoded["label"] = np.array([self.labels[i] for i in order], np.int32)
        return encoded | {name: [values[i] for i in order] for name, values in self.extra.items()}


def _check_ids(tokens: Sequence[Sequence[int]], tokenizer: Tokenizer) -> None:
    highest = max((max(ids) for ids in tokens if len(ids)), default=0)
    if highest >= tokenizer.vocab_size:
        raise UserError(
            f"token id {highest} in a caption, but the tokenizer has {tokenizer.vocab_size} ids; "
            "give the tokenizer that the captions were made with"
        )


@dataclass(frozen=True)
class Moments:
    """Texts about windows of a video, `vtmask.datasets.records.moments`, in file order.

    Windows stay as published, even beyond the video's end, since published metrics count all of
    them. A window that is negative, empty or infinite is left out. So is a text without a word, or
    one that loses all its windows.

    Attributes:
      windows: (start, end) in seconds, of each line.
      extra: integers, one for each line, by the name of their field.
    """

    lines: Sequence[str]
    windows: Sequence[Sequence[tuple[float, float]]]
    extra: Mapping[str, Sequence[int]] = dataclasses.field(default_factory=dict)

    def encode(
        self, tokenizer: Tokenizer, duration: Duration, problems: Counter[str]
    ) -> dict[str, Any]:
        kept: dict[int, list[tuple[float, float]]] = {}
        for index, (line, windows) in enumerate(zip(self.lines, self.windows, strict=True)):
            whole = [(start, end) for start, end in windows if 0 <= start < end < math.inf]
            problems["moment without a length"] += len(windows) - len(whole)
            if not line.strip():
                problems["empty sentence of a moment"] += 1
            elif whole or not windows:
                kept[index] = whole
        lines = [" ".join(self.lines[index].split()) for index in kept]
        joined = [window for windows in kept.values() for window in windows]
        return (
            records.encode_texts(tokenizer, lines)
            | {
                "windows": np.array(joined, np.float32).reshape(-1, 2),
                "num_windows": np.array([len(windows) for windows in kept.values()], np.int32),
            }
            | {
                name: np.array([values[index] for index in kept], np.int32)
                for name, values in self.extra.items()
            }
        )


@dataclass(frozen=True)
class FeatureLabels:
    """A class for every feature of a video, int32 [features].

    Attributes:
      steps: (start, end, class), in seconds. A feature has the class of the step that touches it,
        of the last one if several do, and 0 if none does.
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
    """The annotations of a video.

    Attributes:
      captions: the narration.
      descriptions: sentences about the complete video; those without a word are left out.
      extra: further values of each description, by the name of their field.
      annotations: the record's other fields.
      file: path of the video file, for reports and browsers, or "".
      problems: kind → number of captions that were dropped or repaired while files were read.
      unread: a line for each file that was left out: the file and the reason.
    """

    video_id: str
    features: FeatureSource
    captions: TimedTexts = TimedTexts(())
    descriptions: Sequence[str] = ()
    annotations: Mapping[str, Annotation] = dataclasses.field(default_factory=dict)
    file: str = ""
    problems: Counter[str] = dataclasses.field(default_factory=Counter)
    unread: Sequence[str] = ()
    extra: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Skipped:
    """A video that the annotations list but that can't be used, and the reason."""

    video_id: str
    reason: str


Entry = Video | Skipped
