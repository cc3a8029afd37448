"""The masks of a step's batch: masked tokens and frames, and attention masks."""

import jax
import jax.numpy as jnp
import numpy as np

from vtmask import attention, masking, sequence
from vtmask.inputs.pipeline import Batch
from vtmask.models import VLMConfig
from vtmask.tasks import Captioning, Pretrain
from vtmask.tasks.base import Task
from vtmask.tasks.encoding import Comparison, Isolated
from vtmask.training.step import step_keys

# Kinds of positions; `position_kinds` gives their indices.
KINDS = ("padding", "[CLS] or [SEP]", "frame", "masked frame", "token", "masked token")
# The ways in which a clip may be masked.
CASES = ("ordinary", "whole text", "whole video", "nothing masked")


def add_masks(task: Task, batch: Batch, seed: int, step: int, model_config: VLMConfig) -> Batch:
    """Adds the masks that training draws for the batch at this step.

    Args:
      batch: `text` [B, T], `text_mask` [B, T] and `video_mask` [B, V].
      seed: of the recipe.

    Returns:
      The batch with three more arrays: `text_masked` [B, T] and `video_masked` [B, V] are True
      where the model predicts, `seen` [B, T] has the token ids that the model gets.
    """
    inputs = {name: batch[name] for name in ("text", "text_mask", "video_mask")}
    if isinstance(task, Pretrain):
        key, _ = step_keys(seed, step)
        masked = jax.device_get(_mask(key, inputs, task.scheme, model_config))
    else:
        masked = (batch["text"], *(np.zeros_like(inputs[k]) for k in ("text_mask", "video_mask")))
    return batch | dict(zip(("seen", "text_masked", "video_masked"), masked, strict=True))


_mask = jax.jit(masking.mask, static_argnums=(2, 3))


def cases(batch: Batch, model_config: VLMConfig) -> np.ndarray:
    """Classifies how each clip is masked, one of `CASES`: [B]."""
    text, video = batch["text_masked"], batch["video_masked"]
    some_text, some_video = text.any(axis=1), video.any(axis=1)
    all_text = (text == _maskable_tokens(batch, model_config)).all(axis=1)
    all_video = (video == batch["video_mask"]).all(axis=1)
    return np.select(
        [some_text & all_text & ~some_video, some_video & all_video & ~some_text],
        ["whole text", "whole video"],
        np.where(some_text | some_video, "ordinary", "nothing masked"),
    )


def position_kinds(batch: Batch) -> np.ndarray:
    """Returns the kind of each position of each sequence, an index of `KINDS`: int [B, L]."""
    frames = np.where(batch["video_masked"], 3, np.where(batch["video_mask"], 2, 0))
    last = batch["text_mask"].sum(axis=1, keepdims=True) - 1
    separator = np.arange(batch["text_mask"].shape[1]) == last
    tokens = np.where(batch["text_masked"], 5, np.where(batch["text_mask"], 4, 0))
    text = np.where(separator, 1, tokens)
    return np.asarray(sequence.join_with(1, jnp.asarray(frames), jnp.asarray(text)))


def summary(batch: Batch, model_config: VLMConfig) -> dict[str, str]:
    """Summarises how much of the clips is padding or masked, and how clips are masked."""
    case_of = cases(batch, model_config)
    frames, tokens = batch["video_mask"], batch["text_mask"]
    maskable = _maskable_tokens(batch, model_config)
    return {
        "padding": f"{_percent(position_kinds(batch) == 0)} of positions "
        f"(video {_percent(~frames)}, text {_percent(~tokens)})",
        "masked": f"{_percent(batch['video_masked'][frames])} of frames, "
        f"{_percent(batch['text_masked'][maskable])} of tokens",
        **{case: f"{_percent(case_of == case)} of clips" for case in CASES if case in case_of},
    }


def attention_masks(task: Task, batch: Batch, num_layers: int) -> dict[str, np.ndarray]:
    """Makes the attention mask of the first clip for each group of layers.

    Returns:
      name of the layers → int [L, L]: the kind of the column's position, an index of `KINDS`, if
      the row's position attends to it, otherwise 0.
    """
    video_mask, text_mask = (jnp.asarray(batch[k][:1]) for k in ("video_mask", "text_mask"))
    isolated = 0
    if isinstance(task, Comparison):
        form = task.encoding
        isolated = form.num_layers if isinstance(form, Isolated) else num_layers
    masks = attention.isolated_layers(video_mask, text_mask, isolated, num_layers)
    if isinstance(task, Captioning):
        masks = attention.text_generation(video_mask, text_mask)
    attended = np.asarray(masks[0]) * position_kinds(batch)[0]
    if not 0 < isolated < num_layers:
        return {"all layers": attended[0]}
    return {
        f"the first {isolated} of {num_layers} layers": attended[0],
        "the other layers": attended[-1],
    }


def _maskable_tokens(batch: Batch, model_config: VLMConfig) -> np.ndarray:
    """Returns True for tokens that masking may choose, all but the special ones: [B, T]."""
    special = (model_config.pad_id, model_config.cls_id, model_config.sep_id)
    return batch["text_mask"] & ~np.isin(batch["text"], special)


def _percent(condition: np.ndarray) -> str:
    return f"{condition.mean():.1%}" if condition.size else "none"
