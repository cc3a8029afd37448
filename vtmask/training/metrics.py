"""Curves of a run: a JSON lines file and TensorBoard events."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter


class MetricWriter:
    """Appends scalars to `metrics.jsonl` and to TensorBoard events in the same folder.

    Lines of steps after `start_step`, which a killed run wrote and a resumed one will write again,
    are dropped.
    """

    def __init__(self, folder: Path, start_step: int):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "metrics.jsonl"
        kept = read_metrics(path) if path.exists() else []
        path.write_text(
            "".join(json.dumps(line) + "\n" for line in kept if line["step"] <= start_step)
        )
        self._lines = path.open("a")
        self._events = EventFileWriter(str(folder / "tensorboard"))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        self._lines.write(json.dumps({"step": step, **scalars}) + "\n")
        self._lines.flush()
        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._events.add_event(
            Event(step=step, wall_time=time.time(), summary=Summary(value=values))
        )

    def close(self) -> None:
        self._lines.close()
        self._events.close()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a `metrics.jsonl`; a last line cut short by a kill is left out."""
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
