"""The training loop: steps, curves, checkpoints, resume."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from vtmask.errors import UserError
from vtmask.models import AnyModel
from vtmask.training import sharding
from vtmask.training.checkpoints import Checkpoints, claim_workdir
from vtmask.training.metrics import MetricWriter
from vtmask.training.optimizer import make_optimizer, make_schedule
from vtmask.training.step import Metrics, Params, Task, initial_state, make_train_step


class Batches(Protocol):
    """Batches as a function of the step; see `vtmask.inputs.pipeline.TrainingBatches`.

    Where they depend on the parameters too, as `vtmask.inputs.retrieval_augmented` has it, `params`
    gives those of the step whose batch is asked for.

    Attributes:
      inputs: what made features and tokens; a run resumes on the same only.
    """

    @property
    def inputs(self) -> Mapping[str, str | float]: ...

    def from_step(
        self, start_step: int, params: Callable[[], Params]
    ) -> Iterator[dict[str, np.ndarray]]: ...

    def video_ids(self, step: int) -> list[str]: ...


def train(
    config: ConfigDict, workdir: Path, model: AnyModel, task: Task, batches: Batches, params: Params
) -> Params:
    """Trains from `params`, or resumes from the workdir's newest checkpoint.

    Args:
      config: a recipe of `configs/`; here `batch_size`, `num_steps`, `seed`, `optim`, `log_every`
        and `checkpoint` are read.
      workdir: gets config.json, metrics.jsonl, tensorboard/ and checkpoints/.
      params: where a run starts that has no checkpoint.

    Returns:
      The final parameters, the same to the bit whether or not the run was interrupted.

    Raises:
      UserError: the workdir is another config's, a checkpoint can't be written, or the loss is not
        finite.
    """
    claim_workdir(workdir, config.to_dict() | {"inputs": dict(batches.inputs)})
    mesh = sharding.make_mesh(config)
    schedule = make_schedule(config.optim, config.num_steps)
    optimizer = make_optimizer(config.optim, schedule)
    fsdp = config.sharding.fsdp
    train_step = make_train_step(
        model, task, optimizer, schedule, config.seed, mesh, fsdp, config.microbatches
    )
    state = initial_state(params, optimizer, mesh, fsdp)
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(Checkpoints(workdir, config.checkpoint.keep))
        start = checkpoints.latest_step() or 0
        if start:
            state = checkpoints.restore(start, state)
        writer = stack.enter_context(MetricWriter(workdir, start))
        curves = Curves(writer, batches, config.batch_size)

        def params_now() -> Params:
            return state.params

        steps = tqdm(range(start, config.num_steps), "train", config.num_steps, initial=start)
        for step, batch in zip(steps, batches.from_step(start, params_now), strict=False):
            state, metrics = train_step(state, sharding.put_batch(batch, mesh))
            curves.add(step, metrics)
            done = step + 1
            save = done % config.checkpoint.every == 0 or done == config.num_steps
            if save or done % config.log_every == 0:
                steps.set_postfix(loss=f"{curves.write(done)['loss']:.3f}", refresh=False)
            if save:
                checkpoints.save(done, state)
    return state.params


class Curves:
    """Gathers the metrics of steps on the device and writes their means."""

    def __init__(self, writer: MetricWriter, batches: Batches, batch_size: int):
        self._writer, self._batches, self._batch_size = writer, batches, batch_size
        self._pending: list[tuple[int, Metrics]] = []
        self._since = time.perf_counter()

    def add(self, step: int, metrics: Metrics) -> None:
        self._pending.append((step, metrics))

    def write(self, done: int) -> dict[str, float]:
        """Writes and returns means since the last call; a UserError at the first NaN."""
        fetched = jax.device_get([metrics for _, metrics in self._pending])
        for (step, _), metrics in zip(self._pending, fetched, strict=True):
            for name in ("loss", "grad_norm"):
                if not np.isfinite(metrics[name]):
                    raise UserError(
                        f"{name} is {metrics[name]} at step {step}, on videos "
                        f"{', '.join(self._batches.video_ids(step))}; check their features, or "
                        "lower config.optim.lr"
                    )
        seconds = time.perf_counter() - self._since
        scalars = {name: float(np.mean([m[name] for m in fetched])) for name in fetched[0]}
        scalars["samples_per_second"] = len(fetched) * self._batch_size / seconds
        scalars["tokens_per_second"] = len(fetched) * scalars["tokens"] / seconds
        self._writer.write(done, scalars)
        self._pending, self._since = [], time.perf_counter()
        return scalars
