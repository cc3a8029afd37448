"""Evaluates captioning: generates a sentence for each annotated part of a video."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
from jax import Array
from ml_collections import ConfigDict

from vtmask import tasks
from vtmask.errors import UserError
from vtmask.evaluation import base, caption_metrics, cards, metrics
from vtmask.evaluation.base import Evaluation
from vtmask.export import Model
from vtmask.inputs import examples
from vtmask.inputs.dataset import Dataset
from vtmask.inputs.examples import Clip, Example
from vtmask.models.vlm import VLM
from vtmask.tasks.captioning import Captioning, require_head


@dataclasses.dataclass(frozen=True)
class _Generate:
    """Generates the ids of captions. Instances with equal tasks are equal and compile once."""

    task: Captioning

    def __call__(self, module: VLM, key: Array | None = None, **clips: Array) -> Array:
        return self.task.generate(module, clips, key)[0]


def evaluate(model: Model, task: Captioning, dataset: Dataset, settings: ConfigDict) -> Evaluation:
    """Generates a caption for each clip and scores it.

    As published, references are tokenised and decoded again.

    Args:
      settings: `batch_size`, clips per call; `field`, either timed texts, each the reference of its
        own clip, or "descriptions", all of which are references of the complete video; `sampled`,
        True to draw captions with seed 0 instead of searching for the best.

    Returns:
      One row, "captions", with `caption_metrics.CaptionScores.corpus`.

    Raises:
      UserError: pycocoevalcap is not installed; the field is empty in all videos;
        the model is a VideoCLIP or has no prediction head.
    """
    tasks.require_model_for("captioning", type(model.module.config))
    require_head(model.params)
    field = settings.field
    caption_metrics.scorers()  # fails before captions are generated

    key = {"key": jax.random.key(0)} if settings.sampled else {}
    inputs = _clips(model, dataset, field)
    ids = list(base.apply(model, _Generate(task), inputs, settings.batch_size, "captions", **key))
    if not ids:
        raise UserError(f"{dataset.path}: field {field} is empty in all videos of {dataset.split}")
    special = {getattr(model.module.config, name) for name in ("pad_id", "cls_id", "sep_id")}
    generated = [
        model.tokenizer.decode([i for i in row.tolist() if i not in special]) for row in ids
    ]
    clips = list(_references(model, dataset, field))
    references = [clip["references"] for clip in clips]
    scores = caption_metrics.score(generated, references)
    # Fluent captions of other clips show how much fluency alone scores.
    others = caption_metrics.score(
        [texts[0] for texts in references[1:] + references[:1]], references
    )
    predictions = [
        clip | {"caption": caption, "CIDEr": float(cider)}
        for clip, caption, cider in zip(clips, generated, scores.cider, strict=True)
    ]
    return Evaluation(
        metrics={"captions": scores.corpus},
        intervals={"captions": metrics.bootstrap(scores.statistic, len(generated), samples=200)},
        baselines={"the next clip's caption": others.corpus},
        headline=[("captions", "BLEU-4"), ("captions", "CIDEr")],
        explanation="BLEU-N, ROUGE-L and METEOR go from 0 to 1, CIDEr from 0 to 10; higher is "
        "better. The baseline gives each clip the reference of the next clip. " + scores.missing,
        figures=[],
        groups=cards.captions(predictions, base.videos(dataset)),
        predictions=predictions,
    )


def _clips(model: Model, dataset: Dataset, field: str) -> Iterator[Example]:
    for record in base.records(dataset, field):
        features = record["features"]
        if "start" in record[field]:
            clips = examples.clips(record[field], dataset.seconds_per_feature, len(features))
        else:
            clips = [Clip(0, len(features))] if record[field]["text"] else []
        for clip in clips:
            yield examples.video(model.module.config, features, clip)


def _references(model: Model, dataset: Dataset, field: str) -> Iterator[dict[str, Any]]:
    """Yields each clip's place and references, in the order of `_clips`."""
    for record in base.records(dataset, field):
        texts = record[field]
        lines = [model.tokenizer.decode(ids.tolist()) for ids in examples.tokens(texts)]
        if "start" in texts:
            starts, ends = texts["start"].tolist(), texts["end"].tolist()
            references = [[line] for line in lines]
        else:
            starts, ends = [0.0], [len(record["features"]) * dataset.seconds_per_feature]
            references = [lines]
        for start, end, right in zip(starts, ends, references, strict=True):
            if right:
                yield {
                    "video_id": record["video_id"],
                    "start": start,
                    "end": end,
                    "references": right,
                }
