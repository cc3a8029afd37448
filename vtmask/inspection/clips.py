"""The clips of a batch in readable form: their times, words and masks."""

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np

from vtmask.inputs.pipeline import Batch, TrainingBatches
from vtmask.inspection import masks
from vtmask.models import VLMConfig
from vtmask.tokenizers import CONTROL_SYMBOLS, Tokenizer


@dataclasses.dataclass(frozen=True)
class ShownToken:
    """A token of a clip's text.

    Attributes:
      text: its part of the decoded text, with the space before it.
      seen: the text that the model gets in its place.
      masked: whether the model predicts it.
    """

    text: str
    seen: str
    masked: bool


@dataclasses.dataclass(frozen=True)
class ShownClip:
    """A clip as the model will see it, in readable form.

    Attributes:
      seconds: (start, end) in the video; None if its features occur there more than once.
      video: the video's file; None if the data set has none.
      case: one of `masks.CASES`.
      frames: for each frame, whether the model predicts it.
    """

    video_id: str
    seconds: tuple[float, float] | None
    video: Path | None
    case: str
    frames: Sequence[bool]
    tokens: Sequence[ShownToken]


def shown_clips(
    batches: TrainingBatches, step: int, batch: Batch, num_clips: int, model_config: VLMConfig
) -> Iterator[ShownClip]:
    """Yields evenly spaced clips of a step's batch, so that their videos differ if possible.

    Args:
      batch: of this step, as `masks.add_masks` returns it, with `video` [B, V, size].
    """
    size = len(batch["text"])
    case_of = masks.cases(batch, model_config)
    records = batches.records(step)
    for i in np.linspace(0, size - 1, min(num_clips, size)).round().astype(int):
        dataset, index = records[i // batches.sampler.clips_per_record]
        record = dataset[index]
        video_mask, text_mask = batch["video_mask"][i], batch["text_mask"][i]
        features = locate(record["features"], batch["video"][i][video_mask])
        length = dataset.seconds_per_feature
        yield ShownClip(
            video_id=record["video_id"],
            seconds=(features[0] * length, features[1] * length) if features else None,
            video=dataset.path / record["video"] if record["video"] else None,
            case=str(case_of[i]),
            frames=batch["video_masked"][i][video_mask].tolist(),
            tokens=shown_tokens(
                dataset.tokenizer,
                *(batch[name][i][text_mask].tolist() for name in ("text", "seen", "text_masked")),
            ),
        )


def locate(features: np.ndarray, clip: np.ndarray) -> tuple[int, int] | None:
    """Finds a clip in its video by its features.

    Args:
      features: of the video, [S, size].
      clip: features of the clip, [n, size].

    Returns:
      The indices (start, stop) of the clip; None unless it occurs exactly once.
    """
    if not len(clip):
        return None
    starts = np.flatnonzero((features == clip[0]).all(axis=1)).tolist()
    stops = [
        start + len(clip)
        for start in starts
        if np.array_equal(features[start : start + len(clip)], clip)
    ]
    return (stops[0] - len(clip), stops[0]) if len(stops) == 1 else None


def shown_tokens(
    tokenizer: Tokenizer, text: Sequence[int], seen: Sequence[int], masked: Sequence[bool]
) -> list[ShownToken]:
    """Makes tokens whose parts join to the decoded text; spells out control symbols.

    Args:
      text: token ids.
      seen: the ids that the model gets in their place.
      masked: whether the model predicts each.
    """
    names = ("pad_id", "unk_id", "cls_id", "sep_id", "mask_id")
    symbols = {getattr(tokenizer, name): CONTROL_SYMBOLS[i] for i, name in enumerate(names)}
    decoded = tokenizer.decode(text)
    # A token's part of the text is what it adds to the tokens before it.
    ends = accumulate((len(tokenizer.decode(text[:n])) for n in range(len(text) + 1)), max)
    tokens = []
    for (start, end), i, j, is_masked in zip(pairwise(ends), text, seen, masked, strict=True):
        part = f" {symbols[i]}" if i in symbols else decoded[start:end]
        given = (symbols.get(j) or tokenizer.decode([j])) if is_masked else part.strip()
        tokens.append(ShownToken(part, given, is_masked))
    return tokens
