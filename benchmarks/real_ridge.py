"""The baseline of benchmarks/real.py: ridge regression from features to sentence embeddings.

It maps mean and deviation of a clip's features to MiniLM's embedding of a sentence. Its weight is
chosen on the validation clips; it is then fitted to all training clips.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks.real_data import Clips
from vtmask import attention, export
from vtmask.evaluation import metrics
from vtmask.inputs import examples
from vtmask.models.transformer import Bert
from vtmask.ranking import rank

WEIGHTS = (10, 30, 100, 300, 1000, 3000)
_LENGTH, _BATCH = 32, 256


def figures(clips: Clips, weights: Path) -> dict[str, Any]:
    """Ranks the test clips for their queries, and the reverse."""
    embed = _embedding(weights)
    training = clips.fit + clips.validation
    videos = _inputs(clips, training)
    texts = embed([clips.sentences[name][0] for name in training])
    known = len(clips.fit)

    def middle_rank(weight: float) -> float:
        mapped = _ridge(videos[:known], texts[:known], videos[known:], weight)
        return float(rank(texts[known:], mapped, np.arange(len(mapped)), 1).ranks.mean())

    weight = min(WEIGHTS, key=middle_rank)
    test = [name for name, _ in clips.test]
    mapped = _ridge(videos, texts, _inputs(clips, test), weight)
    queries, right = embed([query for _, query in clips.test]), np.arange(len(test))
    ranks = {
        "text to video": rank(queries, mapped, right, 1).ranks,
        "video to text": rank(mapped, queries, right[:, None], 1).ranks,
    }
    return {
        "weight": weight,
        "metrics": {row: metrics.retrieval_of_ranks(values) for row, values in ranks.items()},
        "intervals": {row: _interval(values) for row, values in ranks.items()},
    }


def _interval(ranks: np.ndarray) -> dict[str, tuple[float, float]]:
    return metrics.bootstrap(lambda drawn: metrics.retrieval_of_ranks(ranks[drawn]), len(ranks))


def _inputs(clips: Clips, ids: Sequence[str]) -> np.ndarray:
    """Mean and deviation of features, standardised by the training clips: [clips, 256]."""
    training, rows = clips.features(clips.fit + clips.validation), clips.features(ids)
    known = np.concatenate([training.mean(1), training.std(1)], axis=1)
    values = np.concatenate([rows.mean(1), rows.std(1)], axis=1)
    return (values - known.mean(0)) / known.std(0)


def _ridge(inputs: np.ndarray, targets: np.ndarray, new: np.ndarray, weight: float) -> np.ndarray:
    """Fits to inputs [N, D] and targets [N, H]; returns unit vectors for new inputs [M, D]."""
    mean = targets.mean(0)
    gram = inputs.T @ inputs + weight * np.eye(inputs.shape[1])
    return _unit(new @ np.linalg.solve(gram, inputs.T @ (targets - mean)) + mean)


def _embedding(weights: Path) -> Any:
    """Returns a function from texts to MiniLM's embeddings: the unit vector of the mean state."""
    bert = export.load_any(weights)
    assert isinstance(bert, export.BertModel)
    tokenizer = bert.tokenizer

    def pooled(model: Bert, ids: Array) -> Array:
        valid = ids != tokenizer.pad_id
        embedded = model.embed_tokens(model.words(ids), jnp.arange(_LENGTH), jnp.zeros_like(ids))
        hidden = model.encode(embedded, attention.keys(valid))
        return jnp.einsum("blh,bl->bh", hidden, valid / valid.sum(1, keepdims=True))

    apply = jax.jit(nn.apply(pooled, bert.module))

    def embed(texts: Sequence[str]) -> np.ndarray:
        rows = ({"ids": _padded(ids, tokenizer)} for ids in tokenizer.encode(texts))
        batches = [
            np.asarray(apply({"params": bert.params}, batch["ids"]))[:count]
            for batch, count in examples.stack(rows, _BATCH)
        ]
        return _unit(np.concatenate(batches))

    return embed


def _padded(ids: Sequence[int], tokenizer: Any) -> np.ndarray:
    row = np.full(_LENGTH, tokenizer.pad_id, np.int32)
    ids = [tokenizer.cls_id, *ids[: _LENGTH - 2], tokenizer.sep_id]
    row[: len(ids)] = ids
    return row


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
