"""A recipe's task is created with its settings. If they are wrong, the error is one line."""

from typing import Any

import pytest
from ml_collections import ConfigDict

from vtmask import tasks
from vtmask.errors import UserError
from vtmask.masking import MaskingScheme

PRETRAIN = {"name": "pretrain", "objective": "mfm_mlm", "masking": {"mm_prob": 0.2}}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (PRETRAIN, tasks.Pretrain(MaskingScheme(mm_prob=0.2), "mfm_mlm")),
        ({"name": "pretrain"}, tasks.Pretrain()),
        ({"name": "retrieval", "isolated_layers": 3}, tasks.Retrieval(3, "t2v")),
        ({"name": "question_answering", "isolated_layers": 3}, tasks.QuestionAnswering(3, 5)),
        ({"name": "step_localization", "isolated_layers": None}, tasks.StepLocalization(None)),
        ({"name": "segmentation"}, tasks.Segmentation()),
        ({"name": "moment_retrieval"}, tasks.MomentRetrieval(None)),
        ({"name": "captioning", "num_beams": 2}, tasks.Captioning(num_beams=2)),
    ],
)
def test_tasks_have_their_settings(settings: dict[str, Any], expected: Any) -> None:
    config = ConfigDict(settings)
    assert tasks.create(config) == expected
    assert config.to_dict() == settings


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"name": "translation"}, "config.task.name is 'translation', expected 'pretrain' or 're"),
        (
            {"name": "retrieval", "isolated_layers": 3, "beams": 2},
            "config.task.beams: retrieval takes isolated_layers, direction",
        ),
        ({"name": "segmentation", "beams": 2}, "config.task.beams: segmentation takes no settings"),
        (
            {"name": "question_answering", "num_answers": 5},
            "config.task.isolated_layers is missing; question_answering needs it",
        ),
        (
            {"name": "retrieval", "isolated_layers": 3, "direction": "v2v"},
            "config.task.direction is 'v2v', expected 't2v' or 'v2t'",
        ),
        (
            {"name": "pretrain", "masking": {"rate": 0.1}},
            "config.task.masking.rate: masking takes mm_prob, mask_prob",
        ),
    ],
)
def test_an_invalid_task_is_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError) as error:
        tasks.create(ConfigDict(settings))
    assert str(error.value).startswith(problem) and "\n" not in str(error.value)
