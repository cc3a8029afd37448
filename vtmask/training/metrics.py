"""Curves of a run: a JSON lines file and TensorBoard events."""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from vtmask.disk import write_whole
from vtmask.errors import UserError, reason


class MetricWriter:
    """Appends scalars to `metrics.jsonl` and to TensorBoard events in the same folder.

    What a killed run wrote of steps after `start_step`, a resumed one writes again: those lines are
    dropped from the file, and TensorBoard is told to forget those events. A UserError where the
    files can't be written.
    """

    def __init__(self, folder: Path, start_step: int):
        self._path = folder / "metrics.jsonl"
        with self._told():
            lines = read_metrics(self._path) if self._path.exists() else []
            kept = [line for line in lines if line["step"] <= start_step]
            if kept != lines or not lines:
                write_whole(self._path, "".join(json.dumps(line) + "\n" for line in kept))
            self._lines = self._path.open("a")
            self._events = EventFileWriter(str(folder / "tensorboard"))
        session = SessionLog(status=SessionLog.START)
        self._events.add_event(Event(step=start_step + 1, session_log=session))

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *_: object) -> None:
        with self._told():
            self._lines.close()
            self._events.close()

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        with self._told():
            self._lines.write(json.dumps({"step": step, **scalars}) + "\n")
            self._lines.flush()
        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._events.add_event(
            Event(step=step, wall_time=time.time(), summary=Summary(value=values))
        )

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self._path}: curves can't be written ({reason(error)}); make room and run the "
                "same command again"
            ) from error


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a `metrics.jsonl`; a last line cut short by a kill is left out."""
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
