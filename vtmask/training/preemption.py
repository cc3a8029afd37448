"""Stops a run early on a signal, after the same step in all processes.

A pod's maintenance, Slurm's time limit and Kubernetes' eviction send SIGTERM some seconds before
they kill; Ctrl-C sends SIGINT. The signal may reach only one of the processes, at any moment.
"""

import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import jax
from jax._src import distributed as jax_distributed  # its key-value store has no public name

EXIT_CODE = os.EX_TEMPFAIL  # 75: run the same command again
_POLL = 1.0  # seconds
_TIMEOUT = 60_000  # milliseconds
_runs = itertools.count()  # a program may train several times


class Preempted(SystemExit):
    """Ends the program with `EXIT_CODE`: the run is saved, and the same command resumes it."""

    def __init__(self) -> None:
        super().__init__(EXIT_CODE)


class Preemption:
    """Decides when to stop; `watch` makes it.

    When one process gets a signal, all exchange the step that they have begun, and finish the
    latest of these. Until there is a signal, steps need no communication.
    """

    def __init__(self) -> None:
        self.asked, self.over = threading.Event(), threading.Event()
        self._key = f"vtmask/begun/{next(_runs)}/"
        self._lock = threading.Lock()  # held while processes agree, so that no step begins
        self._begun = -1
        self._end: int | None = None

    def stops_before(self, step: int) -> bool:
        """Whether to stop instead of beginning this step; call it before every step."""
        with self._lock:
            if self._end is None and self.asked.is_set() and jax.process_count() == 1:
                self._end = step
            self._begun = step
            return self._end is not None and step >= self._end

    def agree(self) -> None:
        """Waits until a process has a signal or is done, then agrees on the step to stop before."""
        store: Any = jax_distributed.global_state.client
        while not (self.over.wait(_POLL) or self.asked.is_set()):
            if store.key_value_dir_get(self._key):
                break
        with self._lock:
            store.key_value_set(f"{self._key}{jax.process_index()}", str(self._begun))
            if not self.over.is_set():
                keys = [f"{self._key}{process}" for process in range(jax.process_count())]
                begun = [int(store.blocking_key_value_get(key, _TIMEOUT)) for key in keys]
                self._end = 1 + max(begun)


@contextlib.contextmanager
def watch() -> Iterator[Preemption]:
    """Makes SIGTERM and Ctrl-C stop the run after the current step.

    A second Ctrl-C ends the program at once. Outside of the main thread, signals are not handled.
    """
    preemption = Preemption()

    def ask(*_: object) -> None:
        preemption.asked.set()
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    thread = threading.Thread(target=preemption.agree, daemon=True)
    if jax.process_count() > 1:
        thread.start()
    try:
        yield preemption
    finally:
        preemption.over.set()
        if thread.ident:
            thread.join()
        for number, handler in before.items():
            signal.signal(number, handler)
