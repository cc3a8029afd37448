"""Step localisation: when a video shows which of its task's steps."""

import dataclasses

import jax.numpy as jnp
import optax
from jax import Array

from vtmask.models import AnyModel
from vtmask.tasks import separate


@dataclasses.dataclass(frozen=True)
class StepLocalization:
    """The action step localisation task of VLM (section 4.1, CrossTask).

    A batch is of R videos, of each W windows and the S steps of its task, with K annotated times:

    - `video`, `video_mask`: [R, W, V, size] and [R, W, V];
    - `steps`, `steps_mask`: token ids of the steps' texts, [R, S, T], a mask without any True for a
      step that is not there;
    - `shown`: True where a frame shows a step, [R, W, V, S].

    Attributes:
      isolated_layers: as in `vtmask.tasks.separate`.
    """

    isolated_layers: int | None

    def loss(
        self, model: AnyModel, batch: dict[str, Array], key: Array
    ) -> tuple[Array, dict[str, Array]]:
        """Mean binary cross-entropy over valid frames and steps. Needs an rng "dropout"."""
        del key
        video, video_mask = batch["video"], batch["video_mask"]
        steps, steps_mask = batch["steps"], batch["steps_mask"]
        texts = self.embed_steps(model, _flat(steps), _flat(steps_mask), deterministic=False)
        texts = texts.reshape(*steps.shape[:2], -1)
        frames = self.encode_frames(model, _flat(video), _flat(video_mask), deterministic=False)
        frames = frames.reshape(*video.shape[:3], -1)
        scores = jnp.einsum("rwvh,rsh->rwvs", frames, texts)
        losses = optax.sigmoid_binary_cross_entropy(scores, batch["shown"].astype(jnp.float32))
        valid = video_mask[..., None] & steps_mask.any(axis=2)[:, None, None]
        return losses.mean(where=valid), {}

    def encode_frames(
        self, model: AnyModel, video: Array, video_mask: Array, deterministic: bool = True
    ) -> Array:
        """Hidden states of frames, float32: [B, V, size] -> [B, V, H]."""
        return separate.encode_frames(model, video, video_mask, self.isolated_layers, deterministic)

    def embed_steps(
        self, model: AnyModel, text: Array, text_mask: Array, deterministic: bool = True
    ) -> Array:
        """Pooled texts of steps: [B, T] -> [B, H]; zero where the mask has no True."""
        hidden = separate.encode_text(model, text, text_mask, self.isolated_layers, deterministic)
        there = text_mask.any(axis=1, keepdims=True)
        return jnp.where(there, separate.pool_text(hidden, text_mask | ~there), 0.0)


def _flat(x: Array) -> Array:
    """Joins the first two axes."""
    return x.reshape(-1, *x.shape[2:])
