"""TFDS builder of the demo data set; README.md says what is in it."""

import math
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from vtmask import features as video_features
from vtmask import tokenizers
from vtmask.datasets import records
from vtmask.datasets.writing import RecordBuilder

from . import language, rendering, world

_VIDEOS = "videos"
_CLASSES = ("background", *world.ACTIONS)
# The folder that this package was imported from; worker processes import it from there too.
_IMPORT_ROOT = Path(__file__).parents[__name__.count(".")]


@dataclass(eq=False, kw_only=True)
class DemoConfig(tfds.core.BuilderConfig):
    """The number of videos in each split, and how they are made.

    Attributes:
      train, validation, test: numbers of videos.
      seed: determines everything random.
      feature_extractor: name of an extractor, see `vtmask.features.create`.
      vocab_size: upper limit of the tokenizer's vocabulary.
    """

    train: int
    validation: int
    test: int
    seed: int = 1
    feature_extractor: str = "pixel-statistics-v1"
    vocab_size: int = 400


class Builder(RecordBuilder):
    """Rendered how-to videos with narration and annotations for every task."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES = {
        "2.0.0": "Answers of `choices` describe other videos; the former are `hard_choices`.",
        "1.0.0": "First release.",
    }
    BUILDER_CONFIGS = [
        DemoConfig(name="default", description="For the demo.", train=600, validation=60, test=200),
        DemoConfig(name="tiny", description="For tests.", train=24, validation=8, test=8),
        DemoConfig(
            name="large", description="For benchmarks.", train=6000, validation=300, test=1000
        ),
    ]
    builder_config: DemoConfig

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        extractor = video_features.create(config.feature_extractor)
        return self.dataset_info_from_configs(
            features=records.features(
                extractor.size,
                steps=records.timed_texts() | {"label": records.integers()},
                clips=records.timed_texts(),
                step_texts=records.texts(),
                choices=records.texts() | {"correct": np.int32},
                hard_choices=records.texts() | {"correct": np.int32},
                moments=records.texts()
                | {
                    "times": tfds.features.Tensor(shape=(None, 2), dtype=np.int32),
                    "num_times": records.integers(),
                    "num_segments": np.int32,
                },
                labels=records.integers(),
            ),
            license="Apache-2.0",
            metadata=tfds.core.MetadataDict(
                feature_extractor=extractor.name,
                feature_size=extractor.size,
                seconds_per_feature=extractor.window.seconds,
                class_names=list(_CLASSES),
                seed=config.seed,
            ),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[str, dict]]]:
        config = self.builder_config
        stories = {
            split: world.stories(config.seed, split, getattr(config, split))
            for split in world.SPLITS
        }
        tokenizer = self._tokenizer(stories["train"])
        tokenizer.save(self.data_path)
        self.info.metadata["tokenizer"] = tokenizer.file_name
        self.info.metadata["tokenizer_sha256"] = tokenizer.sha256
        return {
            split: self._generate_examples(split, stories[split], tokenizer)
            for split in world.SPLITS
        }

    def _tokenizer(self, train: list[world.Story]) -> tokenizers.Tokenizer:
        if self._given_tokenizer is not None:
            return tokenizers.read_published(self._given_tokenizer)
        written = [language.write(story) for story in train]
        lines = (line for texts in written for line in (*_captions(texts), texts.description))
        return tokenizers.train(lines, self.builder_config.vocab_size)

    def _generate_examples(
        self, split: str, stories: list[world.Story], tokenizer: tokenizers.Tokenizer
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields each story's id and record; worker processes make its video and features."""
        folder = Path(self.data_path) / _VIDEOS
        folder.mkdir(exist_ok=True)
        paths = [folder / f"{story.video_id}.mp4" for story in stories]
        names = [self.builder_config.feature_extractor] * len(stories)
        texts = [language.write(story) for story in stories]
        choices = language.questions(stories, [text.description for text in texts])
        workers = min(len(stories), os.cpu_count() or 1)
        # Spawned, not forked: TensorFlow does not survive a fork, and workers never import it.
        context = multiprocessing.get_context("spawn")
        with (
            tfds.core.utils.add_sys_path(_IMPORT_ROOT),
            ProcessPoolExecutor(workers, mp_context=context) as pool,
        ):
            made = pool.map(rendering.make_video, stories, paths, names)
            rows = zip(stories, texts, choices, made, strict=True)
            for story, written, asked, features in tqdm(
                rows, f"{split} videos", len(stories), unit="video"
            ):
                labels = story.labels(len(features), self.info.metadata["seconds_per_feature"])
                yield story.video_id, _record(story, written, asked, features, labels, tokenizer)


def _captions(texts: language.Texts) -> list[str]:
    return [text for _, _, text in texts.captions]


def _record(
    story: world.Story,
    texts: language.Texts,
    choices: language.Choices,
    features: np.ndarray,
    labels: np.ndarray,
    tokenizer: tokenizers.Tokenizer,
) -> dict[str, Any]:
    segments = [world.segments(step) for step in story.steps]
    record = {
        "video_id": story.video_id,
        "video": f"{_VIDEOS}/{story.video_id}.mp4",
        "features": features,
        "captions": records.encode_timed_texts(tokenizer, texts.captions),
        "descriptions": records.encode_texts(tokenizer, [texts.description]),
        "steps": records.encode_timed_texts(tokenizer, texts.steps)
        | {"label": np.array(texts.task.done, np.int32) + 1},
        "step_texts": records.encode_texts(tokenizer, texts.task.steps),
        "clips": records.encode_timed_texts(tokenizer, texts.clips),
        "moments": records.encode_texts(tokenizer, [text for _, _, text in texts.clips])
        | {
            "times": np.array(segments, np.int32),
            "num_times": np.ones(len(segments), np.int32),
            "num_segments": np.int32(math.ceil(story.seconds / world.SEGMENT_SECONDS)),
        },
        "choices": _encode(tokenizer, choices),
        "hard_choices": _encode(tokenizer, texts.hard_choices),
        "labels": labels,
    }
    records.check(story.video_id, record)
    return record


def _encode(tokenizer: tokenizers.Tokenizer, choices: language.Choices) -> dict[str, Any]:
    texts = records.encode_texts(tokenizer, choices.answers)
    return texts | {"correct": np.int32(choices.correct)}
