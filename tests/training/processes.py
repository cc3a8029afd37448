"""Trains a tiny model as one of several processes; the environment says which.

    python processes.py WORKDIR '{"sharding": {"model": 1, "fsdp": true}}'

It is a separate program because JAX joins processes before anything else.
"""

import dataclasses
import io
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import synthetic

from vtmask import disk, program, tasks
from vtmask.models import VLM, initial_params
from vtmask.training import distributed, sharding, train


class Part(synthetic.SyntheticBatches):
    """This process's rows of the batches, each delayed by `seconds`."""

    seconds = 0.0
    model = 1

    def from_step(self, start_step: int) -> Iterator[dict[str, np.ndarray]]:
        part, number = sharding.part_of_batch(self.model)
        share = self.batch_size // number
        rows = slice(part * share, (part + 1) * share)
        for batch in super().from_step(start_step):
            time.sleep(self.seconds)
            yield {name: x[rows] for name, x in batch.items()}


def main(workdir: str, fields: dict[str, Any]) -> None:
    sharding.SMALLEST_SPLIT = 64
    config = synthetic.config()
    batches = Part(nan_step=fields.pop("nan_step", None))
    Part.seconds = fields.pop("seconds", 0.0)
    config.task.budgets = fields.pop("budgets", ())  # fewer programs to compile
    config.update(fields)
    Part.model = config.sharding.model
    model = VLM(dataclasses.replace(synthetic.CONFIG, num_layers=1))
    # On one device, as an export's parameters are.
    params = jax.device_put(initial_params(model, config.seed), jax.local_devices()[0])
    params = train(config, workdir, model, tasks.create(config.task), batches, params)
    if distributed.is_first():
        content = io.BytesIO()
        np.savez(content, *jax.tree.leaves(params))
        (disk.resolve(workdir) / "params.npz").write_bytes(content.getvalue())


if __name__ == "__main__":
    with program.one_line_errors(), distributed.start():
        main(sys.argv[1], json.loads(sys.argv[2]))
