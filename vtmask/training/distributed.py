"""Several processes that train one model, each on its own devices and its own part of a batch.

JAX tells a process that lost another by ending it, from C++ and with a stack trace, as the rest
would wait forever. So that people read what to do, a small program beside each process has the last
word.
"""

import atexit
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vtmask.errors import UserError

HEARTBEAT_TIMEOUT = 30  # seconds without a sign of life after which a process counts as dead
_SETTINGS = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
_TRANSPORTS = ("Gloo", "NCCL", "coordination service", "CoordinationService", "Timed out while")
_LOST = (
    "error: this process was killed, or ends as another one was killed, failed or did not come; "
    "what that one said last tells why. Run the same command again, with any number of processes; "
    "training goes on from its last checkpoint, if there is one."
)
# Waits for the process to end; says the message unless it was told that this is as it should be.
_LAST_WORD = """
import sys
if not sys.stdin.read():
    print("\\n" + sys.argv[1], file=sys.stderr)
"""


@contextlib.contextmanager
def start() -> Iterator[None]:
    """Joins the other processes, if there are any; before anything else of JAX.

    JAX finds them by itself on Slurm, Open MPI, TPU pods and (with its extra k8s) Kubernetes.
    Elsewhere the environment tells: JAX_COORDINATOR_ADDRESS, the first process's HOST:PORT,
    JAX_NUM_PROCESSES and JAX_PROCESS_ID. Where neither is so, this process is alone.

    When one process ends before its time, all others end within a minute, with one line that says
    what to do.

    Raises:
      UserError: the environment tells but a part, or what can't be.
    """
    watcher = subprocess.Popen(
        [sys.executable, "-IS", "-c", _LAST_WORD, _LOST],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is not for it
    )
    joined = False
    try:
        joined = _join()
    finally:
        if not joined:
            watcher.communicate(b"said")
    if not joined:
        yield
        return
    try:
        wait_for_all("start")
        _connect()
        yield
        wait_for_all("the end")
    except BaseException as error:
        atexit.register(_leave)
        said = f"{error} {error.__cause__}"  # what a checkpoint could not be written for, too
        if isinstance(error, Exception) and any(name in said for name in _TRANSPORTS):
            sys.exit(1)  # the watcher tells, after all that JAX may still say
        watcher.communicate(b"said")
        raise
    watcher.communicate(b"said")


def is_first() -> bool:
    """Whether this process is the one that writes what is written once."""
    return jax.process_index() == 0


def wait_for_all(where: str) -> None:
    """Waits until all processes are here, however late.

    They must before devices exchange numbers for the first time: gloo, which does so for CPUs,
    gives up a process that is not there after 30 s.
    """
    multihost_utils.sync_global_devices(where)


def of_first(number: int) -> int:
    """The first process's number, for all."""
    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def on_host(tree: Any) -> Any:
    """Arrays spread over processes as NumPy arrays, whole in each; others as they are.

    All processes have to call it.
    """

    def whole(leaf: Any) -> Any:
        if isinstance(leaf, np.ndarray) or leaf.is_fully_addressable:
            return leaf
        return multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(whole, tree)


def _join() -> bool:
    """Whether there are other processes, which this one has joined."""
    told = {name: os.environ[name] for name in _SETTINGS if name in os.environ}
    numbers = {name: value for name, value in told.items() if name != _SETTINGS[0]}
    for name, value in numbers.items():
        if not value.isdecimal():
            raise UserError(f"{name} is {value!r}, expected a whole number")
    count, process = (int(told[name]) if name in told else None for name in _SETTINGS[1:])
    if len(told) == len(_SETTINGS):
        print(f"process {process}: waits for all {count} at {told[_SETTINGS[0]]}", file=sys.stderr)
    jax.config.update("jax_enable_preemption_service", False)  # or SIGTERM would not end a process
    try:
        jax.distributed.initialize(
            num_processes=count,
            process_id=process,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT,
        )
    except ValueError as error:
        if not told and "coordinator_address should be defined" in str(error):
            return False  # JAX found no cluster
        if not told:
            raise
        raise UserError(
            f"{' and '.join(told)}: {error} Set all of {', '.join(_SETTINGS)}"
        ) from error
    return jax.process_count() > 1


def _connect() -> None:
    """Exchanges a number among all devices while all processes are here; see `wait_for_all`."""
    count = jax.device_count()
    zeros = np.zeros(count, np.float32)
    place = NamedSharding(Mesh(np.array(jax.devices()), ("all",)), PartitionSpec("all"))
    numbers = jax.make_array_from_callback((count,), place, lambda part: zeros[part])
    jax.block_until_ready(jnp.sum(numbers))


def _leave() -> None:
    """Ends this process without waiting for those that can't end by themselves.

    The first one lets the others tell their errors: without it JAX ends them.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if is_first():
        time.sleep(3)
    os._exit(1)
