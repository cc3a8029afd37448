"""train.py and evaluate.py in this process, their flags given as arguments."""

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from absl import flags
from ml_collections import ConfigDict


def _load(name: str) -> Any:
    """The program as a module; both define --config, which a process may have but once."""
    if "config" in flags.FLAGS:
        delattr(flags.FLAGS, "config")
    return importlib.import_module(name)


_TRAIN, _EVALUATE = _load("train"), _load("evaluate")


def recipe(name: str, **overrides: Any) -> ConfigDict:
    """The recipe of configs/`name`.py; `data__dir` overrides config.data.dir."""
    config = importlib.import_module(f"configs.{name}").get_config()
    config.update_from_flattened_dict(
        {field.replace("__", "."): value for field, value in overrides.items()}
    )
    return config


def train(config: ConfigDict, workdir: Path) -> Path:
    """Trains; the folder of the exported model."""
    _run(_TRAIN, CONFIG=config, WORKDIR=str(workdir))
    return workdir / "export"


def evaluate(config: ConfigDict, model: Path, out: Path) -> None:
    _run(_EVALUATE, CONFIG=config, MODEL=str(model), OUT=str(out))


def _run(program: Any, **values: Any) -> None:
    held = {name: SimpleNamespace(value=value) for name, value in values.items()}
    with mock.patch.multiple(program, **held):
        program.main()
