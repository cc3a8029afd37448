"""The training loop: steps, curves, validation, checkpoints and resuming."""

import contextlib
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict
from tqdm import tqdm

from vtmask import disk
from vtmask.errors import UserError
from vtmask.models import AnyModel
from vtmask.training import distributed, preemption, sharding
from vtmask.training.checkpoints import Checkpoints
from vtmask.training.curves import MetricWriter
from vtmask.training.optimizer import make_optimizer, make_schedule
from vtmask.training.preemption import Preempted
from vtmask.training.step import (
    Metrics,
    Params,
    Task,
    initial_state,
    make_chooser,
    make_train_step,
)
from vtmask.training.workdir import claim_workdir

Validation = Callable[[Params], dict[str, float]]

# Batches on the devices in addition to the current one. With 2, the devices choose the program of a
# batch before they start the preceding step.
AHEAD = 2


class Batches(Protocol):
    """Batches as a function of the step; see `vtmask.inputs.pipeline.TrainingBatches`.

    Attributes:
      inputs: the origin of features and tokens; a run resumes only if it is unchanged.
    """

    @property
    def inputs(self) -> Mapping[str, str | float]: ...

    def from_step(self, start_step: int) -> Iterator[dict[str, np.ndarray]]: ...

    def video_ids(self, step: int) -> list[str]: ...


@runtime_checkable
class ParamsDependent(Protocol):
    """Batches that also depend on the parameters; see `vtmask.training.retrieval_augmented`."""

    def needs_params(self, step: int) -> bool:
        """Returns True if the step's batch depends on the parameters after all earlier steps."""

    def prepare(self, step: int, params: Params) -> None:
        """Takes the parameters for a step that needs them, before its batch is requested."""


def train(
    config: ConfigDict,
    workdir: disk.AnyPath,
    model: AnyModel,
    task: Task,
    batches: Batches,
    params: Params,
    validation: Validation | None = None,
) -> Params:
    """Trains from `params`, or resumes from the workdir's newest checkpoint.

    Args:
      config: a recipe of `configs/`. `train` reads `batch_size`, `microbatches`, `num_steps`,
        `seed`, `optim`, `sharding`, `log_every`, `eval_every`, `checkpoint` and the sizes of
        `model` that must divide evenly among devices.
      workdir: a folder or a gs:// address; gets config.json, metrics.jsonl, tensorboard/ and
        checkpoints/.
      params: initial parameters of a run without a checkpoint.
      validation: measures figures of the parameters every `eval_every` steps and at the end, or
        None. It has no effect on the parameters.

    Returns:
      The final parameters or, if `checkpoint.best` is set, the best ones; complete in each process.
      They are bitwise the same whether or not the run was interrupted.

    Raises:
      UserError: the workdir belongs to another config, none of its checkpoints can be read, one
        can't be written, or the loss is not finite.
      Preempted: SIGTERM or Ctrl-C arrived; the current step was completed and saved.
    """
    workdir = disk.resolve(workdir)
    claim_workdir(workdir, config.to_dict() | {"inputs": dict(batches.inputs)})
    mesh = sharding.make_mesh(config.sharding.model)
    sharding.require_even_parts(config, mesh)
    schedule = make_schedule(config.optim, config.num_steps)
    optimizer = make_optimizer(config.optim, schedule)
    fsdp = config.sharding.fsdp
    train_step = make_train_step(
        model, task, optimizer, schedule, config.seed, mesh, fsdp, config.microbatches
    )
    choose = make_chooser(model, task, config.seed, mesh, config.microbatches)
    state = initial_state(params, optimizer, mesh, fsdp)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(preemption.watch())
        best = config.checkpoint.get("best", "")
        checkpoints = stack.enter_context(Checkpoints(workdir, config.checkpoint.keep, best))
        state = checkpoints.restore_newest(state) or state
        start = int(state.step)
        if start and distributed.is_first():
            print(f"{workdir}: training resumes from step {start}", file=sys.stderr)
        curves = Curves(batches, config.batch_size)
        if distributed.is_first():
            curves.writer = stack.enter_context(MetricWriter(workdir, start))

        validator = Validator(validation, config.eval_every, config.num_steps, curves.writer)

        def params_now() -> Params:
            return state.params

        feed = Feed(batches, range(start, config.num_steps), mesh, choose, params_now)
        steps = tqdm(
            range(start, config.num_steps),
            "train",
            config.num_steps,
            initial=start,
            disable=not distributed.is_first(),
        )
        programs: dict[int, jax.stages.Compiled] = {}
        done = saved = start
        for step in steps:
            if stop.stops_before(step):
                break
            batch, program = feed.take()
            if program not in programs:
                steps.set_postfix_str("compiling")
                programs[program] = train_step.lower(state, batch, program).compile()
                distributed.wait_for_all("compiled")
                steps.set_postfix_str("", refresh=False)
            state, metrics = programs[program](state, batch)
            feed.fill()
            curves.add(step, metrics)
            done = step + 1
            figures = validator.figures(done, state.params)
            save = done % config.checkpoint.every == 0 or done == config.num_steps
            save = save or bool(best and figures)
            if save or done % config.log_every == 0:
                steps.set_postfix(loss=f"{curves.write(done)['loss']:.3f}", refresh=False)
            elif done == start + 2 and (loss := curves.last_loss()) is not None:  # no mean yet
                steps.set_postfix(loss=f"{loss:.3f}", refresh=False)
            if save:
                curves.flush()
                checkpoints.save(done, state, figures)
                saved = done
        if done > saved:  # stopped between checkpoints
            if done % config.log_every:
                curves.write(done)
            curves.flush()
            checkpoints.save(done, state)
        if best and done == config.num_steps:
            state = checkpoints.restore_best(state) or state
    if done < config.num_steps:
        if distributed.is_first():
            print(
                f"{workdir}: stopped by a signal; step {done} is saved; run the same command to "
                "resume",
                file=sys.stderr,
            )
        raise Preempted
    return distributed.on_host(state.params)


class Validator:
    """Validates the parameters every few steps and writes the figures, if it has a writer.

    Every process validates by itself, on one of its devices, so that none waits for another.
    """

    def __init__(
        self, validation: Validation | None, every: int, num_steps: int, writer: MetricWriter | None
    ):
        self._validation, self._every, self._num_steps = validation, every, num_steps
        self._writer = writer

    def figures(self, done: int, params: Params) -> dict[str, float] | None:
        """Returns the figures of the parameters after `done` steps, or None if none are due."""
        due = done == self._num_steps or (self._every and done % self._every == 0)
        if self._validation is None or not due:
            return None
        since = time.perf_counter()
        figures = self._validation(distributed.on_host(params))
        figures = {f"validation/{name}": value for name, value in figures.items()}
        if self._writer:
            seconds = time.perf_counter() - since
            self._writer.write(done, figures | {"validation/seconds": seconds})
        return figures


class Feed:
    """Transfers batches to the devices while earlier steps run.

    Steps and transfers are queued for the devices without blocking, so one thread is enough. A
    batch's program is chosen before the preceding step runs, so `take` doesn't wait for that step.
    """

    def __init__(
        self,
        batches: Batches,
        steps: range,
        mesh: Mesh,
        choose: Callable[[dict[str, jax.Array], int], jax.Array],
        params: Callable[[], Params],
    ):
        self._mesh, self._params, self._coming = mesh, params, deque(steps)
        self._dependent = batches if isinstance(batches, ParamsDependent) else None
        self._source, self._choose = batches.from_step(steps.start), choose
        self._ready: deque[tuple[dict[str, jax.Array], jax.Array]] = deque()

    def take(self) -> tuple[dict[str, jax.Array], int]:
        """Returns the next step's batch and the index of its program.

        All earlier steps must have been dispatched.
        """
        if not self._ready:
            self._put()
        batch, program = self._ready.popleft()
        return batch, int(program)

    def fill(self) -> None:
        """Transfers up to `AHEAD` batches; stops at a step that needs newer parameters."""
        while len(self._ready) < AHEAD and self._coming and not self._needs_params():
            self._put()

    def _needs_params(self) -> bool:
        return self._dependent is not None and self._dependent.needs_params(self._coming[0])

    def _put(self) -> None:
        if self._dependent is not None and self._needs_params():
            self._dependent.prepare(self._coming[0], self._params())
        step = self._coming.popleft()
        batch = sharding.put_batch(next(self._source), self._mesh)
        self._ready.append((batch, self._choose(batch, step)))


class Curves:
    """Gathers the metrics of steps on the device and writes their means, if it has a writer."""

    writer: MetricWriter | None = None

    def __init__(self, batches: Batches, batch_size: int):
        self._batches, self._batch_size = batches, batch_size
        self._pending: list[tuple[int, Metrics]] = []
        self._since = time.perf_counter()

    def add(self, step: int, metrics: Metrics) -> None:
        """Takes a step's metrics and waits for the step before; otherwise batches would pile up."""
        if self._pending:
            jax.block_until_ready(self._pending[-1][1])
        self._pending.append((step, metrics))

    def last_loss(self) -> float | None:
        """Returns the loss of the last step that `add` waited for; None if already written."""
        return float(self._pending[-2][1]["loss"]) if self._pending[1:] else None

    def flush(self) -> None:
        """Makes what was written durable."""
        if self.writer:
            self.writer.flush()

    def write(self, done: int) -> dict[str, float]:
        """Writes and returns the means since the last call.

        Raises:
          UserError: a loss or gradient norm is not finite.
        """
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
        if self.writer:
            self.writer.write(done, scalars)
        self._pending, self._since = [], time.perf_counter()
        return scalars
