"""train.py, evaluate.py and `vtmask inspect` read recipes and their overrides."""

from pathlib import Path

import pytest
from absl import flags

from vtmask import program
from vtmask.errors import UserError

RECIPE = "configs/demo.py"


def test_fields_are_overridden() -> None:
    overrides = ["--config.optim.lr=0.5", "--config.data.dir", "DATA", "--config.task.budgets=()"]
    config = program.read_config(RECIPE, overrides)
    assert (config.optim.lr, config.data.dir, config.task.budgets) == (0.5, "DATA", ())
    assert program.read_config(RECIPE, []).optim.lr != 0.5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.optim.lrr=1", 'has no field "optim.lrr". Did you mean "optim.lr"?'),
        ("--config.modell.dtype=a", 'has no field "modell.dtype". Did you mean "model.dtype"?'),
        ("--config.batchsize=8", 'has no field "batchsize". Did you mean "batch_size"?'),
        ("--config.lr=1", 'has no field "lr". Did you mean "optim.lr"?'),
        ("--config.foo=1", 'has no field "foo". It has batch_size, checkpoint, data, '),
        ("--noconfig.foo", 'has no field "foo". It has '),
        ("--config.task.=1", 'has no field "task.". Did you mean "task"?'),
        ("--config.optim.lr.x=1", "optim.lr is 0.0005, which has no fields"),
        ("elsewhere", "unexpected argument 'elsewhere'"),
    ],
)
def test_a_misspelled_field_fails_and_suggests_the_closest(override: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        program.read_config(RECIPE, ["--config.optim.weight_decay=0.1", override])
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_value_of_the_wrong_type_is_refused() -> None:
    with pytest.raises(flags.Error, match="config.optim.lr=fast"):
        program.read_config(RECIPE, ["--config.optim.lr=fast"])


def test_a_missing_recipe_is_reported_and_a_faulty_one_raises(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="configs/none.py: no such recipe"):
        program.read_config("configs/none.py", [])
    (tmp_path / "faulty.py").write_text("def get_config():\n    return {}['typo']\n")
    with pytest.raises(KeyError, match="typo"):  # a fault of the recipe, not of an override
        program.read_config(str(tmp_path / "faulty.py"), ["--config.lr=1"])


def test_errors_are_one_line_unless_a_traceback_is_requested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("VTMASK_TRACEBACK", raising=False)
    with pytest.raises(SystemExit, match="^error: two lines$"), program.one_line_errors():
        raise UserError("two\nlines")
    with pytest.raises(AttributeError), program.one_line_errors():
        raise AttributeError("a bug")
    monkeypatch.setenv("VTMASK_TRACEBACK", "1")
    with pytest.raises(UserError), program.one_line_errors():
        raise UserError("two\nlines")
