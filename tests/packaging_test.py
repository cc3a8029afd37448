"""A wheel needs fewer packages for inference than for training."""

import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import in_memory
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from vtmask import export, program

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_requirements_txt_lists_the_package_s_and_training_s_requirements() -> None:
    listed = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line]
    assert sorted(listed) == sorted(
        PROJECT["dependencies"] + PROJECT["optional-dependencies"]["train"]
    )


def test_a_missing_training_package_is_reported_on_one_line() -> None:
    line = r"^error: tensorboard is not installed; pip install 'vtmask\[train\]'"
    with pytest.raises(SystemExit, match=line), program.one_line_errors():
        raise ModuleNotFoundError("No module named 'tensorboard'", name="tensorboard")
    with pytest.raises(ModuleNotFoundError), program.one_line_errors():
        raise ModuleNotFoundError("No module named 'red'", name="red")


def test_every_training_package_is_known_by_its_module() -> None:
    modules: dict[str, set[str]] = {}
    for module, distributions in packages_distributions().items():
        for name in distributions:
            modules.setdefault(canonicalize_name(name), set()).add(module)
    for line in PROJECT["optional-dependencies"]["train"]:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate():
            assert modules[canonicalize_name(requirement.name)] & {*program._OF_TRAINING}, line


def test_inference_imports_no_training_package(tmp_path: Path) -> None:
    export.save(tmp_path / "export", in_memory.model())
    code = f"""
import sys
sys.modules |= dict.fromkeys({program._OF_TRAINING!r})  # importing them fails
import numpy as np
import vtmask
from vtmask.cli import compare, convert, extract
from vtmask import convert as conversion
from vtmask.features import extraction
model = vtmask.load("export")
video = np.ones((3, 4))
assert model.score(video, ["red"]).shape == (1,)
assert model.localize(video, ["red"]).shape == (3, 1)
assert isinstance(model.caption(video), str)
"""
    environment = {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)
