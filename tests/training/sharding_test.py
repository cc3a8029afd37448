"""Layouts over devices have one device's losses, and exchange no more than they must."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from training import layouts

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found() -> Any:
    program = Path(__file__).with_name("layouts.py")
    environment = {"JAX_PLATFORMS": "cpu", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = subprocess.run(
        [sys.executable, program], stdout=subprocess.PIPE, check=True, env=os.environ | environment
    )
    return json.loads(done.stdout)


def test_the_losses_are_those_of_one_device(found: Any) -> None:
    steps = zip(found["all"]["metrics"], found["one device"]["metrics"], strict=True)
    for split, alone in steps:
        assert split == pytest.approx(alone, rel=1e-5)


def test_own_negatives_are_those_of_a_device_s_part(found: Any) -> None:
    loss = found["own negatives"]["metrics"][0]["loss"]
    assert loss == pytest.approx(found["by parts"], rel=1e-5)


def test_the_state_is_split(found: Any) -> None:
    whole = found["one device"]["bytes"]
    assert found["tensor"]["bytes"] < 0.7 * whole
    assert found["all"]["bytes"] < 0.25 * whole
    assert found["own negatives"]["bytes"] < 0.2 * whole


def test_fsdp_gathers_parameters_and_no_activations(found: Any) -> None:
    largest_kernel = layouts.SIZES.hidden_size * layouts.SIZES.mlp_size
    assert 0 < max(found["own negatives"]["exchanged"]["all-gather"]) <= largest_kernel


def test_tensor_parallel_layers_add_up_and_exchange_nothing_else(found: Any) -> None:
    exchanged = found["tensor"]["exchanged"]
    assert exchanged["all-reduce"]
    assert not exchanged["all-to-all"] and not exchanged["collective-permute"]
    assert len(exchanged["all-gather"]) <= 3  # frames, which of them are negatives, and the head
