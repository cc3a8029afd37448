"""Video captioning: teacher forcing under the text-generation mask, beam search, sampling."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import optax
from jax import Array

from vtmask import attention, decoding, losses, sequence
from vtmask.errors import UserError
from vtmask.models.vlm import VLM
from vtmask.tasks.base import Batch, Metrics, Task

PROMPT_LENGTH = 3  # ids before a caption, as published: `[CLS] [SEP] [CLS]`


@dataclasses.dataclass(frozen=True)
class Captioning(Task):
    """The captioning task of VLM (section 4.1), on YouCook2 as published.

    The video attends to itself. Text attends to the video and to earlier text, and starts with a
    [CLS] after the video's [SEP].

    Attributes:
      num_beams: beams of the search; 1 is greedy search.
      length_penalty: a caption's score is its log-probability divided by its length to this power.
        The length counts the prompt and the tokens, but not the closing [SEP].
      max_decode_length: the most ids of a caption. As published, the three of the prompt
        `[CLS] [SEP] [CLS]` count, so at most max_decode_length - 3 tokens, including [SEP], are
        generated.
      temperature: divides the logits that samples are drawn from.
      top_p: samples are drawn from the most likely tokens that together have this probability.
    """

    needs_vlm: ClassVar[bool] = True

    num_beams: int = 5
    length_penalty: float = 1.0
    max_decode_length: int = 24
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        least = PROMPT_LENGTH + 1
        for field, right, expected in (
            ("num_beams", self.num_beams >= 1, "1 or more"),
            ("max_decode_length", self.max_decode_length >= least, f"{least} or more"),
            ("temperature", self.temperature > 0, "more than 0"),
            ("top_p", 0 < self.top_p <= 1, "more than 0 and at most 1"),
        ):
            if not right:
                value = getattr(self, field)
                raise UserError(f"config.task.{field} is {value}, expected {expected}")

    @property
    def max_tokens(self) -> int:
        """The most tokens of a caption, counting its closing [SEP]."""
        return self.max_decode_length - PROMPT_LENGTH

    def loss(self, model: VLM, batch: Batch, key: Array) -> tuple[Array, Metrics]:
        """Computes the mean cross-entropy of text and its [SEP].

        Needs an rng "dropout"; `key` is not used.
        """
        del key
        return cross_entropy(self.logits(model, batch, deterministic=False), batch), {}

    def logits(self, model: VLM, batch: Batch, deterministic: bool) -> Array:
        """Scores each text position's token given the video and the tokens before it.

        Returns:
          [B, T, vocab_size].
        """
        text, text_mask = batch["text"], batch["text_mask"]
        shifted = jnp.pad(text[:, :-1], ((0, 0), (1, 0)), constant_values=model.config.cls_id)
        shifted = jnp.where(text_mask, shifted, model.config.pad_id)
        embedded = model.embed(model.video_tokens(batch["video"]), shifted, deterministic)
        mask = attention.text_generation(batch["video_mask"], text_mask)
        hidden = model.encode(embedded, mask, deterministic)
        return _word_scores(model, sequence.split(hidden, batch["video"].shape[1]).text)

    def generate(self, model: VLM, batch: Batch, key: Array | None = None) -> tuple[Array, Array]:
        """Captions clips by beam search or, if `key` is given, by sampling.

        The video is encoded once. All beams attend to its keys and values in the cache.

        Args:
          batch: with `video` and `video_mask`; see `vtmask.models.vlm`.

        Returns:
          ids int32 [B, max_decode_length - 3], each caption with its [SEP], then [PAD], and scores
          [B]: see `length_penalty`.

        Raises:
          UserError: captions may get longer than the model's text.
        """
        config = model.config
        if self.max_tokens > config.max_text_len:
            raise UserError(
                f"config.task.max_decode_length is {self.max_decode_length}, expected at most "
                f"{config.max_text_len + PROMPT_LENGTH}, as the model has {config.max_text_len} "
                "text positions"
            )
        num_beams = 1 if key is not None else self.num_beams
        slots = (self.max_tokens - 1) * num_beams
        start = jnp.full((len(batch["video"]), 1), config.cls_id)
        prompt_keys = attention.padding(batch["video_mask"], jnp.ones_like(start, bool))
        module, variables = model.unbind()

        def prompt(model: VLM) -> Array:
            embedded = model.embed(model.video_tokens(batch["video"]), start)
            mask = attention.text_generation(batch["video_mask"], jnp.ones_like(start, bool))
            mask = jnp.pad(mask, ((0, 0), (0, 0), (0, 0), (0, slots)))
            hidden = model.encode(embedded, mask, cache_at=0)
            return _word_scores(model, sequence.split(hidden, batch["video"].shape[1]).text[:, -1])

        def next_token(model: VLM, tokens: Array, position: Array, paths: Array) -> Array:
            beams = paths.reshape(len(start), 1, num_beams, slots)
            video = jnp.broadcast_to(prompt_keys, (*beams.shape[:-1], prompt_keys.shape[-1]))
            mask = jnp.concatenate([video, beams], axis=-1)
            cache_at = prompt_keys.shape[-1] + position * num_beams
            embedded = model.embed_text(tokens, 1 + position)
            return _word_scores(model, model.encode(embedded, mask, cache_at=cache_at))

        def step(tokens: Array, position: Array, paths: Array, cache: Any) -> tuple[Array, Any]:
            apply = nn.apply(next_token, module, mutable="cache")
            return apply({**variables, **cache}, tokens, position, paths)

        logits, cache = nn.apply(prompt, module, mutable="cache")(variables)
        sequences = decoding.Sequences(
            end_id=config.sep_id,
            pad_id=config.pad_id,
            max_tokens=self.max_tokens,
            length_penalty=self.length_penalty,
            prompt_length=PROMPT_LENGTH,
        )
        if key is None:
            return decoding.beam_search(step, logits, cache, sequences, num_beams)
        return decoding.sample(step, logits, cache, sequences, key, self.temperature, self.top_p)


def cross_entropy(logits: Array, batch: Batch) -> Array:
    """Averages over valid text including [SEP]; 0 if there is none: [B, T, vocab_size] -> []."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["text"])
    valid = batch["text_mask"]
    return jnp.where(valid, losses, 0.0).sum() / jnp.maximum(valid.sum(), 1)


def require_head(params: Mapping[str, Any]) -> None:
    """Raises a UserError if a VLM has no prediction head; some published models have none."""
    if "head" not in params:
        raise UserError(
            "the model has no prediction head, which writes captions; fine-tune it for captioning"
        )


def _word_scores(model: VLM, hidden: Array) -> Array:
    """Scores the vocabulary, from states after the last layer: [..., H] -> [..., vocab_size]."""
    return losses.scores(model.head(hidden), model.vocabulary()) + model.vocabulary_bias()
