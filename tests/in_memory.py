"""A data set in memory, with annotations for every task, and an untrained model for it."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vtmask import tokenizers
from vtmask.datasets import records
from vtmask.export import Model
from vtmask.models import VLM, AnyModel, VLMConfig, initial_params
from vtmask.tokenizers import Tokenizer
from vtmask.training import Params

TEXTS = ("slide the red ball", "spin the blue box", "lift a star", "now lower it", "squeeze")
TOKENIZER = tokenizers.train(TEXTS * 9, 50)
CLASSES = ("background", "slide", "spin", "lift")


@dataclasses.dataclass
class InMemory:
    """The parts of `vtmask.inputs.dataset.Dataset` that evaluations read."""

    records: list[dict[str, Any]]
    class_names: tuple[str, ...] = CLASSES
    seconds_per_feature: float = 1.0
    split: str = "test"
    path: Path = Path("data")
    tokenizer: Tokenizer = TOKENIZER
    feature_extractor: str = "made-up"
    feature_size: int = 4

    @property
    def num_records(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.records[index]


def dataset(number: int = 3, **options: Any) -> Any:
    """Makes videos of 9, 10, … features."""
    return InMemory([record(i, 9 + i) for i in range(number)], **options)


def record(index: int, length: int = 9, **fields: Any) -> dict[str, Any]:
    """Makes a video with one annotation of each kind for every two of `TEXTS`."""
    rng = np.random.default_rng(index)
    texts = [*TEXTS[index % 5 :], *TEXTS][:2]
    timed = [(0.0, 4.0, texts[0]), (4.5, 7.25, texts[1])]
    steps = records.encode_timed_texts(TOKENIZER, timed)
    return {
        "video_id": f"v{index}",
        "video": f"v{index}.mp4" if index else "",
        "features": rng.standard_normal((length, 4)).astype(np.float16),
        "captions": steps,
        "descriptions": records.encode_texts(TOKENIZER, texts[:1]),
        "clips": steps,
        "steps": steps | {"label": np.array([1, 3], np.int32)},
        "step_texts": records.encode_texts(TOKENIZER, [*texts, "lift"]),
        "labels": rng.integers(0, len(CLASSES), length).astype(np.int32),
        "choices": records.encode_texts(TOKENIZER, TEXTS) | {"correct": np.int32(index % 5)},
        "moments": records.encode_texts(TOKENIZER, texts)
        | {
            "times": np.array([[0, 0], [0, 1], [1, 1]], np.int32),
            "num_times": np.array([2, 1], np.int32),
            "num_segments": np.int32(2),
        },
    } | fields


def texts(*lines: str) -> dict[str, Any]:
    return records.encode_texts(TOKENIZER, lines)


def model(class_names: tuple[str, ...] = (), **model_config: Any) -> Model:
    """Makes an untrained model for the data set, whose outputs differ for different inputs."""
    module = VLM(
        VLMConfig(
            **{
                "hidden_size": 16,
                "num_layers": 1,
                "num_heads": 2,
                "mlp_size": 32,
                "initializer_range": 0.3,
                "vocab_size": TOKENIZER.vocab_size,
                "feature_size": 4,
                "max_video_len": 6,
                "max_len": 20,
                "num_classes": len(class_names),
            }
            | model_config
        )
    )
    config = {"task": {"name": "pretrain"}, "init_from": "", "num_steps": 0}
    return Model(module, params(module), TOKENIZER, "made-up", 1.0, config, class_names)


def params(module: AnyModel) -> Params:
    """Returns fresh parameters, computed once; a caller may change its copy."""
    return jax.tree.map(lambda leaf: leaf, _params(module))


@functools.cache
def _params(module: AnyModel) -> Params:
    return initial_params(module, 0)
