"""An invalid value in a recipe gives one line with the field and the values that it accepts."""

import math
from pathlib import Path
from typing import Any

import pytest
import synthetic
from ml_collections import ConfigDict

from configs import demo, demo_retrieval, demo_videoclip
from vtmask import checks, program
from vtmask.errors import UserError

RECIPES = sorted((Path(__file__).parents[1] / "configs").glob("[!_]*.py"))


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("batch_size", 0, "is 0, expected 1 or more"),
        ("batch_size", -1, "is -1, expected 1 or more"),
        ("num_steps", 0, "is 0, expected 1 or more, or None"),
        ("log_every", 0, "is 0, expected 1 or more"),
        ("eval_every", -1, "is -1, expected 0 or more"),
        ("seed", -1, "is -1, expected 0 or more"),
        ("microbatches", 0, "is 0, expected 1 or more"),
        ("checkpoint.keep", 0, "is 0, expected 1 or more"),
        ("checkpoint.every", 0, "is 0, expected 1 or more"),
        ("sharding.model", 0, "is 0, expected 1 or more"),
        ("optim.lr", math.nan, "is nan, expected more than 0"),
        ("optim.lr", math.inf, "is inf, expected more than 0"),
        ("optim.lr", -1e-3, "is -0.001, expected more than 0"),
        ("optim.factors", (("video_mlp", 0.0),), "expected pairs of a part of the model and a"),
        ("optim.mu_dtype", "float16", "mu_dtype is 'float16', expected 'float32' or 'bfloat16'"),
        (
            "optim.factors",
            ("video_mlp", 20.0),
            "expected pairs of a part of the model and a number",
        ),
        ("optim.b2", 1.0, "is 1.0, expected 0 or more and less than 1"),
        ("optim.clip_norm", 0.0, "is 0.0, expected more than 0"),
        ("optim.warmup_steps", -5, "is -5, expected 0 or more"),
        ("task.masking.mask_prob", 2.0, "is 2.0, expected 0 to 1"),
        ("sampler.clips_per_record", 0, "is 0, expected 1 or more"),
        ("sampler.min_tokens", 30, "max_tokens is 24, expected at least min_tokens, 30"),
        ("model.hidden_size", 0, "is 0, expected 1 or more"),
        ("model.num_heads", 3, "hidden_size is 128, expected a multiple of num_heads 3"),
        ("model.dropout_rate", 1.0, "is 1.0, expected 0 or more and less than 1"),
        ("model.max_len", 22, "max_len is 22, expected more than max_video_len"),
        ("data.weights", (1.0, 2.0), r"is \(1.0, 2.0\), expected \(\) or 1 positive numbers"),
        ("data.weights", (0.0,), r"is \(0.0,\), expected \(\) or 1 positive numbers"),
        ("task.budgets", (0.7, 0.25, 0.65), "budgets has 0.7, expected triples of shares"),
        ("task.budgets", ((0.7, 0.25),), "budgets has .*, expected triples of shares"),
    ],
)
def test_an_invalid_value_is_reported_with_its_field(field: str, value: Any, problem: str) -> None:
    config = demo.get_config()
    with config.ignore_type():
        config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=f"^config.*{problem}") as caught:
        checks.check(config)
    assert field.rpartition(".")[2].split("_")[-1] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_number_in_a_recipe_may_be_nan() -> None:
    checked = set()
    for recipe in RECIPES:
        # References are resolved because a field that depends on the wrong one might fail first.
        config = program.read_config(str(recipe), []).copy_and_resolve_references()
        for field, value in program._fields(config):
            if isinstance(value, int | float) and not isinstance(value, bool):
                wrong = config.copy_and_resolve_references()
                with wrong.ignore_type():
                    wrong.update_from_flattened_dict({field: math.nan})
                with pytest.raises(UserError, match=f"^config.{field} is nan, expected .+$"):
                    checks.check(wrong)
                checked.add(field)
    assert len(checked) > 40


@pytest.mark.parametrize("recipe", [demo, demo_retrieval, demo_videoclip])
def test_recipes_pass_the_checks(recipe: Any) -> None:
    checks.check(recipe.get_config())


def test_a_task_that_videoclip_cannot_do_is_refused() -> None:
    config = synthetic.recipe("demo_videoclip")
    config.task = ConfigDict({"name": "captioning"})
    with pytest.raises(UserError, match="captioning, which VideoCLIP cannot do"):
        checks.check(config)
