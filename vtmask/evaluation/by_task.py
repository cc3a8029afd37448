"""The evaluation of each task, by the task's name in a recipe."""

from collections.abc import Callable

from vtmask.evaluation import (
    captioning,
    corpus_moment_retrieval,
    localization,
    moment_retrieval,
    question_answering,
    retrieval,
    segmentation,
)
from vtmask.evaluation.base import Evaluation

EVALUATIONS: dict[str, Callable[..., Evaluation]] = {
    "retrieval": retrieval.evaluate,
    "question_answering": question_answering.evaluate,
    "captioning": captioning.evaluate,
    "step_localization": localization.evaluate,
    "segmentation": segmentation.evaluate,
    "moment_retrieval": moment_retrieval.evaluate,
    "corpus_moment_retrieval": corpus_moment_retrieval.evaluate,
}
