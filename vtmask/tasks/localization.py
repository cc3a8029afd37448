"""Step localisation: finds the time at which a video shows each step of its task."""

import dataclasses

import jax.numpy as jnp
import optax
from jax import Array

from vtmask.models import AnyModel
from vtmask.tasks.base import Batch, Metrics
from vtmask.tasks.encoding import Comparison, pool_text


@dataclasses.dataclass(frozen=True)
class StepLocalization(Comparison):
    """The action step localisation task of VLM (section 4.1, CrossTask).

    A batch has R videos, with W windows each, and the S steps of each video's task:

    - `video`, `video_mask`: [R, W, V, feature_size] and [R, W, V];
    - `steps`, `steps_mask`: token ids of the steps' texts, [R, S, T]; if a mask is False
      everywhere, the task does not have this step;
    - `shown`: True if a frame shows a step, [R, W, V, S].
    """

    def loss(self, model: AnyModel, batch: Batch, key: Array) -> tuple[Array, Metrics]:
        """Computes the mean binary cross-entropy over valid frames and steps.

        Needs an rng "dropout"; `key` is not used.
        """
        del key
        video, video_mask = batch["video"], batch["video_mask"]
        steps, steps_mask = batch["steps"], batch["steps_mask"]
        texts = self.embed_steps(model, _flat(steps), _flat(steps_mask), deterministic=False)
        texts = texts.reshape(*steps.shape[:2], -1)
        frames = self.encoding.encode_frames(model, _flat(video), _flat(video_mask), False)
        frames = frames.reshape(*video.shape[:3], -1)
        scores = jnp.einsum("rwvh,rsh->rwvs", frames, texts)
        losses = optax.sigmoid_binary_cross_entropy(scores, batch["shown"].astype(jnp.float32))
        valid = video_mask[..., None] & steps_mask.any(axis=2)[:, None, None]
        return losses.mean(where=valid), {}

    def embed_steps(
        self, model: AnyModel, text: Array, text_mask: Array, deterministic: bool = True
    ) -> Array:
        """Encodes texts of steps and pools them: [B, T] -> [B, H]; zero if the mask has no True."""
        hidden = self.encoding.encode_text(model, text, text_mask, deterministic)
        exists = text_mask.any(axis=1, keepdims=True)
        return jnp.where(exists, pool_text(hidden, text_mask | ~exists), 0.0)


def _flat(x: Array) -> Array:
    """Joins the first two axes."""
    return x.reshape(-1, *x.shape[2:])
