"""Curves of a run: a JSON lines file and TensorBoard events."""

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from etils import epath
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from vtmask import disk
from vtmask.errors import UserError, reason

COPY_EVERY = 60  # seconds


class MetricWriter:
    """Appends scalars to `metrics.jsonl` and to TensorBoard events in the same folder.

    A resumed run writes the steps after `start_step` again, so their lines are dropped from the
    file, and TensorBoard discards their events. Raises a UserError if a file can't be written.

    Files in a bucket can't be appended to. They are written on this machine and copied to the
    bucket at every checkpoint, every `COPY_EVERY` seconds and at the end.
    """

    def __init__(self, folder: disk.AnyPath, start_step: int):
        self._folder = disk.resolve(folder)
        self._path = self._folder / "metrics.jsonl"
        with self._write_errors():
            lines = read_metrics(self._path) if self._path.exists() else []
            kept = [line for line in lines if line["step"] <= start_step]
            copies = disk.in_bucket(self._folder)
            self._local = Path(tempfile.mkdtemp() if copies else self._folder)
            path = self._local / self._path.name
            if kept != lines or not lines or copies:
                disk.write_whole(path, "".join(json.dumps(line) + "\n" for line in kept))
            self._lines = path.open("a")
            self._events = EventFileWriter(str(self._local / "tensorboard"))
            self._copied = time.monotonic()
        session = SessionLog(status=SessionLog.START)
        self._events.add_event(Event(step=start_step + 1, session_log=session))

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *_: object) -> None:
        with self._write_errors():
            self._lines.close()
            self._events.close()
            self._copy()
        if disk.in_bucket(self._folder):
            shutil.rmtree(self._local)

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        with self._write_errors():
            self._lines.write(json.dumps({"step": step, **scalars}) + "\n")
            self._lines.flush()
        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._events.add_event(
            Event(step=step, wall_time=time.time(), summary=Summary(value=values))
        )
        if time.monotonic() > self._copied + COPY_EVERY:
            self.flush()

    def flush(self) -> None:
        """Writes all files; call it before the checkpoint of their last step is saved."""
        with self._write_errors():
            self._events.flush()
            self._copy()

    def _copy(self) -> None:
        if disk.in_bucket(self._folder):
            for path in self._local.rglob("*"):
                if path.is_file():
                    disk.write_whole(
                        self._folder / path.relative_to(self._local), path.read_bytes()
                    )
            self._copied = time.monotonic()

    @contextlib.contextmanager
    def _write_errors(self) -> Iterator[None]:
        try:
            yield
        except disk.errors() as error:
            raise UserError(
                f"{self._path}: curves can't be written ({reason(error)}); free disk space and run "
                "the same command again"
            ) from error


def read_metrics(path: Path | epath.Path) -> list[dict[str, float]]:
    """Reads the lines of a `metrics.jsonl`, except a last line that a kill truncated."""
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
