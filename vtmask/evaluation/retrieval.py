"""Evaluates text-video retrieval: embeds a split, ranks it both ways, writes what was found."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from tqdm import tqdm

from vtmask.evaluation import metrics
from vtmask.export import Model
from vtmask.tasks.retrieval import Retrieval

TEXT_TO_VIDEO, VIDEO_TO_TEXT = "text to video", "video to text"


def embed(
    model: Model, task: Retrieval, batches: Iterable[tuple[dict[str, np.ndarray], int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Pooled video and text of all clips, [N, H] each.

    Args:
      batches: batches of one size, each with the number of its clips that count; see
        `vtmask.inputs.pipeline.evaluation_batches`.
    """
    forward = jax.jit(nn.apply(task.embed, model.module))
    videos, texts = [], []
    for batch, count in tqdm(batches, "embed"):
        video, text = forward({"params": model.params}, batch)
        videos.append(np.asarray(video)[:count])
        texts.append(np.asarray(text)[:count])
    return np.concatenate(videos), np.concatenate(texts)


def evaluate(videos: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """Scores [texts, videos] and the metrics of both directions."""
    scores = texts @ videos.T
    return scores, {
        TEXT_TO_VIDEO: metrics.retrieval(scores),
        VIDEO_TO_TEXT: metrics.retrieval(scores.T),
    }


def write_metrics(path: Path, found: dict[str, Any], facts: dict[str, Any]) -> None:
    """Writes facts of the run and, under "metrics", the metrics of each direction."""
    path.write_text(json.dumps({**facts, "metrics": found}, indent=2) + "\n")
