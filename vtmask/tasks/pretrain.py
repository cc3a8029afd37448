"""Pre-training: masked modalities, scored jointly (MTM) or apart (MFM+MLM)."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jax import Array

from vtmask import attention, losses, masking, unpadding
from vtmask.errors import UserError, check_choice
from vtmask.losses import Candidates, Negatives, Queries
from vtmask.models import VLMConfig
from vtmask.models.transformer import Rows
from vtmask.models.vlm import VLM


class Budget(NamedTuple):
    """Room for a batch, as shares of what a batch without padding and all masked would take.

    Attributes:
      positions: of all B * L.
      masked: of all B * L.
      frames: of all B * V.
    """

    positions: float = 1.0
    masked: float = 1.0
    frames: float = 1.0


WHOLE = Budget()


class Scored(NamedTuple):
    """Masked positions and what they are scored with, grouped as `vtmask.unpadding` has it.

    Attributes:
      hidden: masked positions after the prediction head, [groups, M, H].
      is_frame, is_word: True where `hidden` is that of a masked frame or word, [groups, M].
      word: the right token id of masked words, [groups, M].
      frame: the place of masked frames' own tokens among `frames`, [groups, M].
      frames: video tokens of the unmasked input, [groups, F, H].
      negative: True for those of unmasked frames, [groups, F].
    """

    hidden: Array
    is_frame: Array
    is_word: Array
    word: Array
    frame: Array
    frames: Array
    negative: Array


@dataclasses.dataclass(frozen=True)
class Pretrain:
    """The pre-training task of VLM (section 3.2).

    Attributes:
      objective: "mtm", one softmax over words and frames, or "mfm_mlm", one each.
      negatives: a masked frame's or word's are the unmasked frames of the whole batch ("global"),
        as published, or those of the device's own part of it ("device"): fewer, so that the loss
        depends on the number of devices, but nothing is exchanged.
      budgets: each (positions, masked, frames), see `Budget`, ascending. A batch is packed into the
        first that holds it, and computed with all its padding where none does: nothing is dropped.
        Each is compiled.
    """

    scheme: masking.MaskingScheme = masking.MaskingScheme()
    objective: Literal["mtm", "mfm_mlm"] = "mtm"
    negatives: Negatives = "global"
    budgets: Sequence[tuple[float, float, float]] = ()

    def __post_init__(self) -> None:
        check_choice("config.task.objective", self.objective, ("mtm", "mfm_mlm"))
        check_choice("config.task.negatives", self.negatives, losses.NEGATIVES)
        for budget in self.budgets:
            if len(budget) != 3 or not all(0 < share <= 1 for share in budget):
                raise UserError(
                    f"config.task.budgets has {budget}, expected shares of positions, masked "
                    "positions and frames, each more than 0 and at most 1"
                )

    def loss(
        self, model: VLM, batch: dict[str, Array], key: Array, budget: Budget = WHOLE
    ) -> tuple[Array, dict[str, Array]]:
        """Masks the batch with `key`; returns the loss and its parts. Needs an rng "dropout"."""
        masked = masking.mask(key, batch, self.scheme, model.config)
        return self.masked_loss(model, batch, masked, deterministic=False, budget=budget)

    def fitting(self, batch: dict[str, Array], key: Array, config: VLMConfig) -> Array:
        """Index of the first budget that holds the batch, len(budgets) where none does."""
        masked = masking.mask(key, batch, self.scheme, config)
        found = [_positions(batch), _masked(masked), batch["video_mask"]]
        fits = [
            jnp.stack(
                [
                    unpadding.largest(chosen) <= unpadding.slots_of(share, chosen.size)
                    for share, chosen in zip(budget, found, strict=True)
                ]
            ).all()
            for budget in self.budgets
        ]
        return jnp.argmax(jnp.stack([*fits, jnp.array(True)]))

    def masked_loss(
        self,
        model: VLM,
        batch: dict[str, Array],
        masked: masking.Masked,
        deterministic: bool,
        budget: Budget = WHOLE,
    ) -> tuple[Array, dict[str, Array]]:
        """The loss of a batch whose masks are given.

        MTM is the mean over masked positions. A masked frame's softmax is over its own token, the
        negatives and the vocabulary; a masked word's over the vocabulary, the negatives and, as
        published, one constant score of 0 (VLM, section 3.2, equation 1). MFM+MLM is the sum of the
        mean over frames, over frames alone, and that over words, over the vocabulary with its bias.
        """
        scored = self.score(model, batch, masked, deterministic, budget)
        hidden, is_frame, is_word = scored.hidden, scored.is_frame, scored.is_word
        first, frames = losses.offered(scored.frames, self.negatives)
        _, negative = losses.offered(scored.negative, self.negatives)
        frame, nothing = first + scored.frame, jnp.full(is_frame.shape, -jnp.inf)
        words = jnp.broadcast_to(model.vocabulary(), (len(frames), *model.vocabulary().shape))
        all_words = jnp.ones(words.shape[:2], bool)
        if self.objective == "mtm":
            label = jnp.where(is_word, scored.word, words.shape[1] + frame)
            constant = jnp.where(is_word, 0.0, -jnp.inf)
            candidates = Candidates(
                jnp.concatenate([words, frames.astype(words.dtype)], axis=1),
                jnp.concatenate([all_words, negative], axis=1),
                jnp.zeros(words.shape[1] + frames.shape[1]),
            )
            weight = _share(is_frame | is_word)
            loss, found = losses.cross_entropy(Queries(hidden, label, weight, constant), candidates)
            frame_loss = (found * _share(is_frame)).sum()
            word_loss = (found * _share(is_word)).sum()
            return loss, {"frame_loss": frame_loss, "word_loss": word_loss}
        frame_loss, _ = losses.cross_entropy(
            Queries(hidden, frame, _share(is_frame), nothing),
            Candidates(frames, negative, jnp.zeros(frames.shape[1])),
        )
        word_loss, _ = losses.cross_entropy(
            Queries(hidden, scored.word, _share(is_word), nothing),
            Candidates(words, all_words, model.vocabulary_bias()),
        )
        return frame_loss + word_loss, {"frame_loss": frame_loss, "word_loss": word_loss}

    def score(
        self,
        model: VLM,
        batch: dict[str, Array],
        masked: masking.Masked,
        deterministic: bool,
        budget: Budget = WHOLE,
    ) -> Scored:
        """Encodes a masked batch, as far as masked positions need it."""
        video_tokens = model.video_tokens(batch["video"])
        visible = jnp.where(
            masked.video_masked[..., None], model.masked_video_token(), video_tokens
        )
        embedded = model.embed(visible, masked.text, deterministic)
        positions, chosen = _positions(batch), _masked(masked)

        def slots(share: float, mask: Array) -> int:
            return unpadding.slots_of(share, mask.size)

        there = unpadding.packing(positions, slots(budget.positions, positions))
        wanted = unpadding.packing(chosen, slots(budget.masked, chosen))
        frames = unpadding.packing(batch["video_mask"], slots(budget.frames, batch["video_mask"]))
        mask = attention.padding(batch["video_mask"], batch["text_mask"])
        hidden = model.head(
            model.encode(there.pack(embedded), mask, deterministic, rows=Rows(there, wanted))
        )
        nowhere = jnp.zeros_like(masked.text_masked)
        return Scored(
            hidden,
            is_frame=wanted.pack(_sequence(masked.video_masked, nowhere)),
            is_word=wanted.pack(_sequence(jnp.zeros_like(masked.video_masked), masked.text_masked)),
            word=wanted.pack(_sequence(jnp.zeros_like(frames.slot), batch["text"])),
            frame=wanted.pack(_sequence(frames.slot, jnp.zeros_like(batch["text"]))),
            frames=frames.pack(video_tokens),
            negative=frames.pack(~masked.video_masked),
        )


def _sequence(video: Array, text: Array) -> Array:
    """What is known of frames and text in the order of a sequence, 0 at [CLS] and the video's
    [SEP]: [B, V], [B, T] -> [B, L]."""
    return jnp.concatenate([jnp.pad(video, ((0, 0), (1, 1))), text], axis=1)


def _positions(batch: dict[str, Array]) -> Array:
    """True where a sequence is no padding: [B, L]."""
    return attention.padding(batch["video_mask"], batch["text_mask"])[:, 0, 0]


def _masked(masked: masking.Masked) -> Array:
    """True at masked positions of a sequence: [B, L]."""
    return _sequence(masked.video_masked, masked.text_masked)


def _share(where: Array) -> Array:
    """Each chosen entry's share of their mean; 0 where none is chosen."""
    return where / jnp.maximum(where.sum(), 1)
