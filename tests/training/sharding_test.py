"""Layouts over devices have one device's losses, and exchange no more than they must."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found() -> Any:
    program = Path(__file__).with_name("layouts.py")
    environment = {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
    }
    done = subprocess.run(
        [sys.executable, program], stdout=-1, check=True, env=os.environ | environment
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("layout", ["data", "fsdp", "tensor", "both", "microbatches"])
def test_the_losses_are_those_of_one_device(found: Any, layout: str) -> None:
    alone = found["one device, microbatches" if layout == "microbatches" else "one device"]
    for name in ("loss", "grad_norm", "next_loss"):
        assert found[layout][name] == pytest.approx(alone[name], rel=1e-5), name
    assert found[layout]["next_loss"] != found[layout]["loss"]
    assert found[layout]["budget"] == 1  # packed, not computed whole


def test_own_negatives_are_those_of_the_device_s_part(found: Any) -> None:
    assert found["own negatives"]["loss"] == pytest.approx(found["own negatives"]["by parts"], 1e-5)
    assert abs(found["own negatives"]["loss"] - found["data"]["loss"]) > 0.01


def test_the_state_is_split(found: Any) -> None:
    whole = found["one device"]["bytes"]
    assert found["data"]["bytes"] == whole
    assert found["fsdp"]["bytes"] < 0.2 * whole
    assert found["tensor"]["bytes"] < 0.6 * whole
    assert found["both"]["bytes"] < 0.2 * whole
