"""The base of the TFDS builders under `data/`: annotations and features in, records out.

A builder only turns a data set's files into `Video`s by split. Everything else happens here, the
same way for every data set: features are read and checked; captions are cleaned, de-duplicated and
tokenised; unusable videos are skipped, counted and listed in a report. It runs in one process or on
Apache Beam, with the same output.
"""

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from vtmask import files, tokenizers
from vtmask.datasets import making, records, report
from vtmask.datasets.entries import Entry, Moments, Texts, TimedTexts, Video
from vtmask.datasets.making import RecordMaker
from vtmask.datasets.writing import RecordBuilder
from vtmask.errors import UserError
from vtmask.tokenizers import Tokenizer

_LINES_TO_TRAIN_ON = 1_000_000


@dataclass(eq=False, kw_only=True)
class VideoTextConfig(tfds.core.BuilderConfig):
    """Options of a build.

    Attributes:
      features: folder of the features, relative to the manual folder. If it has a features.json,
        that must agree with this config.
      feature_size: width of a feature.
      seconds_per_feature: length of video that a feature covers: 0.5 for two features a second.
      feature_extractor: name of the extractor; a model runs only on features of the same one.
      deduplicate: whether to remove the repetitions of rolling subtitles, by the published rule.
      vocab_size: size of the tokenizer that is trained on the texts if none is given.
      seed: for the random choices of de-duplication.
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
        """Raises a UserError if the folder has a card of features that contradicts this config."""
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
        """Raises a UserError if a field of `made`, read from file `where`, differs from `self`."""
        differing = {name: value for name, value in made.items() if value != getattr(self, name)}
        if differing:
            theirs = ", ".join(f"{name} {value!r}" for name, value in differing.items())
            ours = ", ".join(repr(getattr(self, name)) for name in differing)
            fields = json.dumps(differing, ensure_ascii=False)[1:-1]
            raise UserError(
                f"{where}: features have {theirs}, the config says {ours}; set {fields} in --config"
            )


class VideoTextBuilder(RecordBuilder, skip_registration=True):
    """A TFDS builder whose subclass only reads annotations: `splits` and, if any, `annotations`.

    The tokenizer is the one given, or `tokenizer.model`, `vocab.txt` or `tokenizer.json` in the
    manual folder; otherwise one is trained on the train split. The tokenizer is saved next to the
    shards, and so are build_report.json and .html, which list the skipped videos.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = "The README.md next to the builder says which files it needs."
    BUILDER_CONFIGS: ClassVar[list[VideoTextConfig]] = [VideoTextConfig()]
    builder_config: VideoTextConfig

    _on_beam = False

    def splits(self, folder: Path) -> Mapping[str, Iterable[Entry]]:
        """Reads the videos of each split lazily from the files in the manual folder.

        Raises:
          UserError: a file is missing or its content is not as expected.
        """
        raise NotImplementedError

    def annotations(self) -> dict[str, Any]:
        """Returns the fields that this data set adds to the common ones of a record."""
        return {}

    def metadata(self) -> dict[str, Any]:
        """Returns the entries that this data set adds to metadata.json."""
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
        """Builds the data set as TFDS does; on Apache Beam if `download_config` asks for it."""
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
            split: self._generate_examples(split, making.once_each(entries), maker)
            for split, entries in self.splits(folder).items()
        }

    def _tokenizer(self, folder: Path) -> Tokenizer:
        if self._given_tokenizer is not None:
            return tokenizers.read_published(self._given_tokenizer)
        for name in ("tokenizer.model", "vocab.txt", "tokenizer.json"):
            if (folder / name).exists():
                return tokenizers.read_published(folder / name)
        train = next(iter(self.splits(folder).values()))
        lines = islice(_lines(train), _LINES_TO_TRAIN_ON)
        try:
            return tokenizers.train(lines, self.builder_config.vocab_size)
        except UserError as error:
            raise UserError(f"{folder}: {error}") from error

    def _generate_examples(self, split: str, entries: Iterable[Entry], maker: RecordMaker) -> Any:
        """Returns the id and record of every usable video: an iterator, or a Beam transform."""
        folder = report.working_folder(Path(self.data_path), split)
        if self._on_beam:
            from vtmask.datasets import beam

            return beam.Examples(entries, maker, folder)
        return making.examples(entries, maker, folder)


def _lines(entries: Iterable[Entry]) -> Iterator[str]:
    """Yields all texts, to train a tokenizer on."""
    for entry in entries:
        if isinstance(entry, Video):
            yield from entry.descriptions
            for field in (entry.captions, *entry.annotations.values()):
                if isinstance(field, TimedTexts):
                    yield from (line.text for line in field.lines)
                elif isinstance(field, (Texts, Moments)):
                    yield from field.lines
