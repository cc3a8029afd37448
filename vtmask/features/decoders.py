"""Decodes in a separate process: a file that crashes or hangs the decoder affects no other file."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from vtmask.errors import UserError
from vtmask.features import decode
from vtmask.features.window import Window

_COMMAND = (sys.executable, "-m", "vtmask.features.decoders")
_WINDOW = "window"  # an answer that is followed by the bytes of a window
_PATIENCE = 600.0  # seconds without a window after which a decoder counts as hung


class Decoder:
    """A process that decodes videos, one at a time; `with` ends it.

    Attributes:
      command: the command to run; the file descriptor of its end of a pipe is appended.
      patience: seconds that it may take for a window.
    """

    def __init__(
        self, window: Window, command: Sequence[str] = _COMMAND, patience: float = _PATIENCE
    ):
        self.window, self.command, self.patience = window, command, patience
        self._process: subprocess.Popen | None = None
        self._pipe: Connection | None = None

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> str:
        """Ends the process and returns how it ended; the next video starts another."""
        if self._process is None or self._pipe is None:
            return ""
        self._pipe.close()
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return "hung"
        finally:
            self._process = None
        return f"crashed ({signal.Signals(-code).name})" if code < 0 else f"ended with code {code}"

    def windows(self, path: str | Path) -> Generator[np.ndarray, None, None]:
        """Does what `vtmask.features.decode.windows` does; a UserError if the decoder fails."""
        pipe = self._started()
        decoded, in_step = 0, False
        try:
            pipe.send((str(path), self.window))
            while isinstance(answer := self._receive(pipe), np.ndarray):
                yield answer
                decoded += 1
            in_step = True
            if answer is not None:
                raise answer
        except (EOFError, OSError) as error:
            # The video may be cut, such as if memory ran out, so none of it is kept.
            after = f"after {decoded * self.window.seconds:g} s"
            raise UserError(f"{path}: the decoder {self.stop()} {after}") from error
        finally:
            if not in_step:
                self.stop()

    def _started(self) -> Connection:
        if self._process is None or self._pipe is None:
            self._pipe, far_end = multiprocessing.Pipe()
            with far_end:
                number = far_end.fileno()
                # In a new session, so that Ctrl-C does not reach it: it ends with its pipe.
                self._process = subprocess.Popen(
                    [*self.command, str(number)], pass_fds=[number], start_new_session=True
                )
        return self._pipe

    def _receive(self, pipe: Connection) -> np.ndarray | UserError | None:
        if not pipe.poll(self.patience):
            raise TimeoutError
        answer = pipe.recv()
        if answer != _WINDOW:
            return answer
        pixels = np.empty(self.window.shape, np.uint8)
        left = pixels.data.cast("B")
        while left:
            read = os.readv(pipe.fileno(), [left])
            if not read:
                raise EOFError
            left = left[read:]
        return pixels


def serve(pipe: Connection) -> None:
    """Answers every (path, window) with the video's windows, followed by None or the error."""
    while True:
        try:
            path, window = pipe.recv()
            try:
                for pixels in decode.windows(path, window):
                    send_window(pipe, pixels)
                pipe.send(None)
            except UserError as error:
                pipe.send(error)
        except (EOFError, OSError):  # the other end is gone
            return


def send_window(pipe: Connection, pixels: np.ndarray) -> None:
    """Sends the raw bytes of a window: pickling them would take ten times as long."""
    pipe.send(_WINDOW)
    left = np.ascontiguousarray(pixels).data.cast("B")
    while left:
        left = left[os.write(pipe.fileno(), left) :]


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
