"""Made-up batches and a small recipe for tests of training."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from ml_collections import ConfigDict

from configs import demo
from vtmask.models import VLMSizes

SIZES = VLMSizes(
    hidden_size=32,
    num_layers=2,
    num_heads=2,
    mlp_size=64,
    vocab_size=50,
    feature_size=16,
    max_video_len=6,
    max_len=16,
)


def config() -> ConfigDict:
    small = demo.get_config()
    small.batch_size = 16
    small.num_steps = 6
    small.log_every = 1
    small.optim.warmup_steps = 2
    small.checkpoint = ConfigDict({"every": 2, "keep": 2})
    return small


@dataclasses.dataclass(frozen=True)
class SyntheticBatches:
    """Batches that depend on the step alone; `nan_step` has a NaN among its features."""

    batch_size: int = 16
    nan_step: int | None = None

    def from_step(self, start_step: int) -> Iterator[dict[str, np.ndarray]]:
        step = start_step
        while True:
            batch = self.batch(step)
            if step == self.nan_step:
                batch["video"][3, 0, 0] = np.nan
            yield batch
            step += 1

    def batch(self, step: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(step)
        size, frames, words = self.batch_size, SIZES.max_video_len, SIZES.max_text_len
        video_len, text_len = rng.integers(1, frames + 1, size), rng.integers(1, words, size)
        video_mask = np.arange(frames) < video_len[:, None]
        video = rng.standard_normal((size, frames, SIZES.feature_size)) * video_mask[..., None]
        position = np.arange(words)
        text = np.where(position < text_len[:, None], rng.integers(5, 50, (size, words)), 0)
        text = np.where(position == text_len[:, None], SIZES.sep_id, text)
        return {
            "video": video.astype(np.float16),
            "video_mask": video_mask,
            "text": text.astype(np.int32),
            "text_mask": position <= text_len[:, None],
        }

    @property
    def inputs(self) -> dict[str, str]:
        return {"feature_extractor": "made-up"}

    def video_ids(self, step: int) -> list[str]:
        return [f"video_{step}_{i}" for i in range(2)]
