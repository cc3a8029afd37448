"""Shows the clips of a training step, masked as the model will see them."""

import os
import sys
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from vtmask import recipe, tasks
from vtmask.errors import UserError
from vtmask.inputs.pipeline import Batch, TrainingBatches
from vtmask.inspection import masks, page, terminal
from vtmask.inspection.clips import shown_clips

_BATCHES = 32  # to summarise
_WARM_UP = 8  # batches before timing starts, as some are read ahead


def inspect(config: ConfigDict, step: int, num_clips: int, out: Path | None) -> None:
    """Prints the model's input at a step and, if `out` is given, writes `out`/index.html.

    Args:
      config: of a recipe.
      step: of training, from 0.
      num_clips: number of the step's clips to show.

    Raises:
      UserError: the data can't be read, or the task's clips have no text.
    """
    task = tasks.create(config.task)
    datasets = recipe.open_datasets(config)
    model_config = recipe.make_model(config, datasets[0]).config
    batches = recipe.make_batches(config, datasets, model_config)
    read, clips_per_second = read_batches(batches, step)
    if "text" not in read[0]:
        raise UserError(
            f"config.task.name is {config.task.name}, whose clips have no text; vtmask inspect "
            "shows clips with text"
        )
    read = [
        masks.add_masks(task, batch, config.seed, step + i, model_config)
        for i, batch in enumerate(read)
    ]
    together = {name: np.concatenate([batch[name] for batch in read]) for name in read[-1]}
    clips = list(shown_clips(batches, step, read[0], num_clips, model_config))
    title = f"Step {step} of {config.data.name}, {config.data.split}"
    facts = {
        "task": config.task.name,
        "sampler": config.sampler.name,
        "seed": config.seed,
        "batch size": config.batch_size,
        "features": f"{datasets[0].feature_extractor}, {datasets[0].seconds_per_feature:g} s each",
        f"clips of steps {step} to {step + len(read) - 1}": len(together["text"]),
        **masks.summary(together, model_config),
        "read": f"{clips_per_second:,.0f} clips/s",
    }
    if recipe.is_retrieval_augmented(config):
        facts["videos"] = "drawn at random here; training draws clusters of similar videos"
    lengths = {
        "frames": together["video_mask"].sum(axis=1),
        "tokens": together["text_mask"].sum(axis=1),
    }
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print(title, "", sep="\n")
    for clip in clips:
        print(*terminal.clip_lines(clip, colour), "", sep="\n")
    for name, fact in facts.items():
        print(f"{name:<24}{fact}")
    for name, counts in lengths.items():
        print("", f"{name} per clip", *terminal.histogram(counts), sep="\n")
    if out is not None:
        kinds = masks.position_kinds(read[0])
        attention = masks.attention_masks(task, read[0], model_config.num_layers)
        html = page.render(title, facts, lengths, kinds, attention, clips, model_config)
        out.mkdir(parents=True, exist_ok=True)
        (out / "index.html").write_text(html, encoding="utf-8")
        print("", f"Page: {out / 'index.html'}", sep="\n")


def read_batches(batches: TrainingBatches, step: int) -> tuple[list[Batch], float]:
    """Reads the batches from `step` on; returns them and the clips read per second.

    Only the first batch keeps its `video`.
    """
    source = batches.from_step(step)
    read = [next(source), *_without_video(islice(source, _WARM_UP - 1))]
    since = time.perf_counter()
    read += _without_video(islice(source, _BATCHES - _WARM_UP))
    rate = (_BATCHES - _WARM_UP) * batches.batch_size / (time.perf_counter() - since)
    source.close()
    return read, rate


def _without_video(batches: Iterable[Batch]) -> list[Batch]:
    return [{name: batch[name] for name in batch.keys() - {"video"}} for batch in batches]
