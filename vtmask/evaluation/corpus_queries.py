"""The texts of corpus moment retrieval, with the annotated moments of each."""

from typing import Any, NamedTuple

import numpy as np

from vtmask.errors import UserError
from vtmask.evaluation import base
from vtmask.evaluation.base import Record
from vtmask.evaluation.moments import SECONDS
from vtmask.inputs import examples
from vtmask.inputs.dataset import Dataset


class Queries(NamedTuple):
    """Distinct texts, and all moments that each describes.

    Attributes:
      texts, tokens: the texts, and the token ids of each.
      videos: indices of the videos of each text's moments, int [moments] each.
      times: start and end of these moments in seconds, [moments, 2] each.
      agreement: number of these moments that a right moment must match. It is 1, or 2 if several
        annotators each chose a moment (DiDeMo; Escorcia et al., arXiv 1907.12763).
    """

    texts: list[str]
    tokens: list[np.ndarray]
    videos: list[np.ndarray]
    times: list[np.ndarray]
    agreement: list[int]


def read(dataset: Dataset, field: str) -> Queries:
    """Reads the texts of a field of all videos; equal texts become one.

    Args:
      field: timed texts (`start`, `end`), texts with `windows` in seconds, any of which is right,
        or texts with `times`, each annotator's first and last segment of 5 s. A text without a
        moment is left out.

    Raises:
      UserError: the field is missing or has no times, or no text has a moment.
    """
    queries: dict[str, tuple[np.ndarray, list[int], list[np.ndarray], list[int]]] = {}
    for video, record in enumerate(base.records(dataset, field)):
        texts = record[field]
        moments = _times(dataset, field, record)
        for text, tokens, times in zip(texts["text"], examples.tokens(texts), moments, strict=True):
            if not len(times):
                continue
            _, videos, others, agreement = queries.setdefault(text, (tokens, [], [], []))
            videos += [video] * len(times)
            others.append(times)
            agreement.append(min(len(times), 2) if "times" in texts else 1)
    if not queries:
        raise UserError(f"{dataset.path}: no video of {dataset.split} has {field}")
    tokens, videos, times, agreement = zip(*queries.values(), strict=True)
    return Queries(
        list(queries),
        list(tokens),
        [np.array(places) for places in videos],
        [np.concatenate(spans) for spans in times],
        [min(counts) for counts in agreement],
    )


def _times(dataset: Dataset, field: str, record: Record) -> list[np.ndarray]:
    """Returns start and end of each text's moments, [moments, 2] in seconds."""
    texts: dict[str, Any] = record[field]
    if not len(texts["text"]):
        return []
    if "start" in texts:
        return list(np.stack([texts["start"], texts["end"]], axis=1)[:, None])
    if "windows" in texts:
        return np.split(texts["windows"], np.cumsum(texts["num_windows"])[:-1])
    if "times" in texts:
        # The last segment ends with the video.
        end = len(record["features"]) * dataset.seconds_per_feature
        times = np.minimum((texts["times"] + [0, 1]) * SECONDS, end)
        return np.split(times, np.cumsum(texts["num_times"])[:-1])
    raise UserError(
        f"{dataset.path}: field {field} has no times; set config.eval.field to a field of timed "
        "texts"
    )
