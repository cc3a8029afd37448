"""Sharded layouts have the losses of one device, and exchange no more than necessary."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import pytest
import synthetic
from jax.sharding import AbstractMesh

from training import layouts
from vtmask.errors import UserError
from vtmask.training import sharding

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def results() -> Any:
    program = Path(__file__).with_name("layouts.py")
    environment = {"JAX_PLATFORMS": "cpu", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = subprocess.run(
        [sys.executable, program], stdout=subprocess.PIPE, check=True, env=os.environ | environment
    )
    return json.loads(done.stdout)


def test_the_losses_equal_those_of_one_device(results: Any) -> None:
    steps = zip(results["all"]["metrics"], results["one device"]["metrics"], strict=True)
    for split, alone in steps:
        assert split == pytest.approx(alone, rel=1e-5)


def test_negatives_of_a_device_come_from_its_part_of_the_batch(results: Any) -> None:
    loss = results["own negatives"]["metrics"][0]["loss"]
    assert loss == pytest.approx(results["by parts"], rel=1e-5)


def test_contrastive_negatives_of_a_device_come_from_its_part_of_the_batch(results: Any) -> None:
    split, by_parts = results["contrastive"]
    assert split == pytest.approx(by_parts, rel=1e-5)


def test_the_state_is_split(results: Any) -> None:
    total = results["one device"]["bytes"]
    assert results["tensor"]["bytes"] < 0.7 * total
    assert results["all"]["bytes"] < 0.25 * total
    assert results["own negatives"]["bytes"] < 0.2 * total


def test_fsdp_gathers_parameters_and_no_activations(results: Any) -> None:
    largest_kernel = layouts.CONFIG.hidden_size * layouts.CONFIG.mlp_size
    assert 0 < max(results["own negatives"]["exchanged"]["all-gather"]) <= largest_kernel


def test_tensor_parallel_layers_add_up_and_exchange_nothing_else(results: Any) -> None:
    exchanged = results["tensor"]["exchanged"]
    assert exchanged["all-reduce"]
    for kind in ("all-to-all", "collective-permute", "reduce-scatter"):
        assert not exchanged[kind]
    assert len(exchanged["all-gather"]) <= 3  # frames, the mask of negatives, and the head


def test_blocks_of_the_loss_are_shared_by_tensor_parallel_devices(results: Any) -> None:
    in_blocks, at_once = results["tensor, in blocks"], results["tensor"]
    for split, unsplit in zip(in_blocks["metrics"], at_once["metrics"], strict=True):
        assert split == pytest.approx(unsplit, rel=1e-5)
    gathered = [sum(of["exchanged"]["all-gather"]) for of in (in_blocks, at_once)]
    assert gathered[0] < 1.1 * gathered[1]


def test_devices_must_divide_into_equal_parts() -> None:
    with pytest.raises(UserError, match="config.sharding.model is 2, expected a divisor of 1 dev"):
        sharding.make_mesh(2)
    with pytest.raises(UserError, match="config.sharding.model is 2, expected a divisor of 1 dev"):
        sharding.part_of_batch(2)


@pytest.mark.parametrize(
    ("data", "model", "microbatches", "message"),
    [
        (3, 1, 1, r"batch_size is 16, expected a multiple of 3: devices along data \(3\) times"),
        (8, 1, 3, r"batch_size is 16, expected a multiple of 24"),
        (1, 3, 1, "config.sharding.model is 3, expected a divisor of config.model.num_heads 4"),
        (8, 1, 0, "config.microbatches is 0, expected 1 or more"),
    ],
)
def test_uneven_parts_are_refused(data: int, model: int, microbatches: int, message: str) -> None:
    config = synthetic.config()
    config.microbatches = microbatches
    with pytest.raises(UserError, match=message):
        sharding.require_even_parts(config, AbstractMesh((data, model), ("data", "model")))


@pytest.mark.parametrize(
    ("model", "num_local", "parts"),
    [
        (1, 2, [(0, 4), (1, 4), (2, 4), (3, 4)]),
        (2, 2, [(0, 4), (1, 4), (2, 4), (3, 4)]),
        (2, 1, [(0, 2), (0, 2), (1, 2), (1, 2)]),
        (8, 2, [(0, 1)] * 4),
    ],
)
def test_processes_that_share_layers_read_the_same_rows(
    model: int, num_local: int, parts: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "local_device_count", lambda: num_local)
    monkeypatch.setattr(jax, "device_count", lambda: 4 * num_local)
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    actual = []
    for process in range(4):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        actual.append(sharding.part_of_batch(model))
    assert actual == parts


def test_processes_that_would_share_layers_unevenly_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jax, "local_device_count", lambda: 4)
    monkeypatch.setattr(jax, "device_count", lambda: 12)
    with pytest.raises(UserError, match="model is 6, expected a divisor or a multiple of the 4"):
        sharding.part_of_batch(6)
