"""Pre-training: masked tokens and frames, scored jointly (MTM) or separately (MFM+MLM)."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import jax.numpy as jnp
from jax import Array

from vtmask import attention, losses, masking, sequence, unpadding
from vtmask.errors import UserError, check_choice
from vtmask.losses import Candidates, Negatives, Queries
from vtmask.models import AnyModel
from vtmask.models.self_attention import Rows
from vtmask.models.vlm import VLM
from vtmask.tasks.base import Batch, Metrics, Task, gradients


class Budget(NamedTuple):
    """The size of an unpadded batch, as shares of a full batch.

    Attributes:
      positions: share of all B * L positions that may be valid.
      masked: share of all B * L positions that may be masked.
      frames: share of all B * V frames that may be valid.
    """

    positions: float = 1.0
    masked: float = 1.0
    frames: float = 1.0


FULL = Budget()


class Scored(NamedTuple):
    """Masked positions and their candidates, in the groups of `vtmask.unpadding`.

    Attributes:
      hidden: masked positions after the prediction head, [groups, M, H].
      is_frame, is_word: True if `hidden` is that of a masked frame or word, [groups, M].
      word: the right token id of a masked word, [groups, M].
      frame: the index in `frames` of a masked frame's own token, [groups, M].
      frames: video tokens of the unmasked input, [groups, F, H].
      negative: True at tokens of unmasked frames, [groups, F].
    """

    hidden: Array
    is_frame: Array
    is_word: Array
    word: Array
    frame: Array
    frames: Array
    negative: Array


@dataclasses.dataclass(frozen=True)
class Pretrain(Task):
    """The pre-training task of VLM (section 3.2).

    Attributes:
      scheme: of masking.
      objective: "mtm", the masked token model, has one softmax over words and frames. "mfm_mlm" has
        one each for the masked frame model and the masked language model.
      negatives: a masked position's negatives are the unmasked frames of the complete batch
        ("global"), as published, or of the device's own part of it ("device"). "device" gives fewer
        negatives, so the loss depends on the number of devices, but needs no communication.
      budgets: (positions, masked, frames) each, smallest first; see `Budget`. A batch is unpadded
        into the first budget that holds it. If none does, it is computed with all its padding, so
        that nothing is dropped.
    """

    needs_vlm: ClassVar[bool] = True

    scheme: masking.MaskingScheme = masking.MaskingScheme()
    objective: Literal["mtm", "mfm_mlm"] = "mtm"
    negatives: Negatives = "global"
    budgets: Sequence[tuple[float, float, float]] = ()

    def __post_init__(self) -> None:
        check_choice("config.task.objective", self.objective, ("mtm", "mfm_mlm"))
        check_choice("config.task.negatives", self.negatives, losses.NEGATIVES)
        for budget in self.budgets:
            triple = isinstance(budget, Sequence) and len(budget) == 3
            if not triple or not all(0 < share <= 1 for share in budget):
                raise UserError(
                    f"config.task.budgets has {budget}, expected triples of shares, of positions, "
                    "masked positions and frames, each more than 0 and at most 1"
                )

    def loss(self, model: VLM, batch: Batch, key: Array) -> tuple[Array, Metrics]:
        """Masks the batch with `key` and returns the loss and its parts; needs an rng "dropout"."""
        masked = masking.mask(key, batch, self.scheme, model.config)
        return self.masked_loss(model, batch, masked, deterministic=False)

    def fits(self, model: AnyModel, batch: Batch, key: Array) -> Array:
        """Returns True for each budget that holds the batch, then True for padding."""
        masked = masking.mask(key, batch, self.scheme, model.config)
        selections = [_valid(batch), _masked(masked), batch["video_mask"]]
        held = [
            jnp.stack(
                [
                    unpadding.most_chosen(chosen) <= unpadding.num_slots(share, chosen.size)
                    for share, chosen in zip(budget, selections, strict=True)
                ]
            ).all()
            for budget in self.budgets
        ]
        return jnp.stack([*held, jnp.array(True)])

    def gradients(
        self,
        model: AnyModel,
        params: Any,
        batch: Batch,
        key: Array,
        dropout_key: Array,
        program: int,
    ) -> tuple[Any, Metrics]:
        """Computes the gradients of a batch, in a budget that holds it or with all its padding.

        Args:
          program: index of the budget; len(budgets) for padding.

        Returns:
          gradients by parameter; the loss, its parts and, if there are budgets, `program`.
        """
        masked = masking.mask(key, batch, self.scheme, model.config)
        budget, metrics = FULL, {}
        if self.budgets:
            metrics = {"budget": jnp.array(program)}
            if program < len(self.budgets):
                budget = Budget(*self.budgets[program])
            else:  # Few batches need padding, so it may be slow. It compiles fast and saves memory.
                small = dataclasses.replace(model.config, scan_layers=True, remat="all")
                model = model.clone(config=small)

        def loss(model: VLM) -> tuple[Array, Metrics]:
            return self.masked_loss(model, batch, masked, False, budget)

        grads, parts = gradients(loss, model, params, dropout_key)
        return grads, parts | metrics

    def masked_loss(
        self,
        model: VLM,
        batch: Batch,
        masked: masking.Masked,
        deterministic: bool,
        budget: Budget = FULL,
    ) -> tuple[Array, Metrics]:
        """Computes the loss of a masked batch, and its parts.

        MTM is the mean over masked positions. The softmax of a masked frame is over its own token,
        the negatives and the vocabulary. The softmax of a masked word is over the vocabulary, the
        negatives and, as published, one constant score of 0 (VLM, section 3.2, equation 1).

        MFM+MLM is the sum of the means over masked frames and over masked words. The softmax of a
        frame is over its own token and the negatives, that of a word over the vocabulary with its
        bias.
        """
        scored = self.score(model, batch, masked, deterministic, budget)
        hidden, is_frame, is_word = scored.hidden, scored.is_frame, scored.is_word
        first, frames = losses.candidates_of(scored.frames, self.negatives)
        _, negative = losses.candidates_of(scored.negative, self.negatives)
        frame, no_constant = first + scored.frame, jnp.full(is_frame.shape, -jnp.inf)
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
            weight = _weights_of_mean(is_frame | is_word)
            queries = Queries(hidden, label, weight, constant)
            loss, of_query = losses.cross_entropy(queries, candidates)
            frame_loss = (of_query * _weights_of_mean(is_frame)).sum()
            word_loss = (of_query * _weights_of_mean(is_word)).sum()
            return loss, {"frame_loss": frame_loss, "word_loss": word_loss}
        frame_loss, _ = losses.cross_entropy(
            Queries(hidden, frame, _weights_of_mean(is_frame), no_constant),
            Candidates(frames, negative, jnp.zeros(frames.shape[1])),
        )
        word_loss, _ = losses.cross_entropy(
            Queries(hidden, scored.word, _weights_of_mean(is_word), no_constant),
            Candidates(words, all_words, model.vocabulary_bias()),
        )
        return frame_loss + word_loss, {"frame_loss": frame_loss, "word_loss": word_loss}

    def score(
        self,
        model: VLM,
        batch: Batch,
        masked: masking.Masked,
        deterministic: bool,
        budget: Budget = FULL,
    ) -> Scored:
        """Encodes a masked batch; computes only what the masked positions need."""
        video_tokens = model.video_tokens(batch["video"])
        visible = jnp.where(
            masked.video_masked[..., None], model.masked_video_token(), video_tokens
        )
        embedded = model.embed(visible, masked.text, deterministic)

        def select(chosen: Array, share: float) -> unpadding.Selection:
            return unpadding.select(chosen, unpadding.num_slots(share, chosen.size))

        positions = select(_valid(batch), budget.positions)
        masked_positions = select(_masked(masked), budget.masked)
        frames = select(batch["video_mask"], budget.frames)
        mask = attention.padding(batch["video_mask"], batch["text_mask"])
        rows = Rows(positions, masked_positions)
        hidden = model.encode(positions.gather(embedded), mask, deterministic, rows=rows)

        def gather(video: Array, text: Array) -> Array:
            return masked_positions.gather(sequence.join_with(0, video, text))

        no_video = jnp.zeros_like(masked.video_masked)
        no_text = jnp.zeros_like(masked.text_masked)
        return Scored(
            model.head(hidden),
            is_frame=gather(masked.video_masked, no_text),
            is_word=gather(no_video, masked.text_masked),
            word=gather(jnp.zeros_like(frames.slot), batch["text"]),
            frame=gather(frames.slot, jnp.zeros_like(batch["text"])),
            frames=frames.gather(video_tokens),
            negative=frames.gather(~masked.video_masked),
        )


def _valid(batch: Batch) -> Array:
    """Returns True at positions of a sequence that are not padding: [B, L]."""
    return sequence.valid(batch["video_mask"], batch["text_mask"])


def _masked(masked: masking.Masked) -> Array:
    """Returns True at masked positions of a sequence: [B, L]."""
    return sequence.join_with(False, masked.video_masked, masked.text_masked)


def _weights_of_mean(chosen: Array) -> Array:
    """Returns weights whose weighted sum is the mean of chosen entries; 0 if none is chosen."""
    return chosen / jnp.maximum(chosen.sum(), 1)
