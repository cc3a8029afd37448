"""Processes that train one model together, each on its devices and its part of a batch.

If a process dies, JAX ends the others from C++, with a stack trace, since they would wait forever.
A small watcher program beside each process then prints a last line that says what to do.
"""

import atexit
import contextlib
import dataclasses
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.clusters import ClusterEnv  # used by jax.distributed; it has no public name
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vtmask.errors import UserError
from vtmask.training.preemption import Preempted

HEARTBEAT_TIMEOUT = 30  # seconds without a heartbeat after which a process counts as dead
_START_TIMEOUT = 600  # seconds that other processes have to start
_REPORT_AFTER, _REPORT_EVERY = 5, 30  # seconds
_SETTINGS = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
_TRANSPORTS = ("Gloo", "NCCL", "coordination service", "CoordinationService", "Timed out while")
_LOST = (
    "error: this process was killed, or exits because another one was killed, failed or did not "
    "start; the last lines of that process give the reason. Run the same command again, with any "
    "number of processes, to resume from the last checkpoint, if there is one."
)
# Waits for the process to end, and prints the message unless the process has sent a byte.
_WATCHER = """
import sys
if not sys.stdin.read():
    print("\\n" + sys.argv[1], file=sys.stderr)
"""


@contextlib.contextmanager
def start() -> Iterator[None]:
    """Joins the other processes, if there are any. Call it before anything else uses JAX.

    JAX detects them on Slurm, Open MPI, TPU pods and (with its extra k8s) Kubernetes. Elsewhere,
    three environment variables define them: JAX_COORDINATOR_ADDRESS, the first process's
    HOST:PORT, JAX_NUM_PROCESSES and JAX_PROCESS_ID. Otherwise there is only this process.

    It reports on stderr while it waits for others. If a process dies, all others exit within a
    minute, with one line that says what to do.

    Raises:
      UserError: one of the variables is missing or has a wrong value.
    """
    cluster = _find_cluster()
    if cluster is None:
        yield
        return
    watcher = subprocess.Popen(
        [sys.executable, "-IS", "-c", _WATCHER, _LOST],
        stdin=subprocess.PIPE,
        start_new_session=True,  # so that Ctrl-C does not reach it
    )
    preempted: Preempted | None = None
    try:
        _join(cluster)
        wait_for_all("start")
        _connect()
        try:
            yield
        except Preempted as error:  # raised in all processes
            preempted = error
        wait_for_all("the end")
    except BaseException as error:
        atexit.register(_leave)
        message = f"{error} {error.__cause__}"  # the cause of a checkpoint's UserError counts, too
        if isinstance(error, Exception) and any(name in message for name in _TRANSPORTS):
            sys.exit(1)  # the watcher prints its message after JAX's
        watcher.communicate(b"reported")
        raise
    watcher.communicate(b"finished")
    if preempted:
        raise preempted


def is_first() -> bool:
    """Whether this process writes the files that only one process writes."""
    return jax.process_index() == 0


def wait_for_all(where: str) -> None:
    """Waits until all processes get here, however late.

    Call it before devices first communicate: gloo, which connects CPUs, gives up after 30 s.
    """
    multihost_utils.sync_global_devices(where)


def from_first(number: int) -> int:
    """Sends the first process's `number` to all processes."""
    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def on_host(tree: Any) -> Any:
    """Gathers arrays that are split over processes: complete NumPy arrays in each process.

    Other arrays are returned unchanged. All processes must call it.
    """

    def gathered(leaf: Any) -> Any:
        if isinstance(leaf, np.ndarray) or leaf.is_fully_addressable:
            return leaf
        return multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(gathered, tree)


@dataclasses.dataclass(frozen=True)
class _Cluster:
    """The processes of a run.

    Attributes:
      address: HOST:PORT of the first process.
      count: number of processes.
      process: index of this process.
      devices: the devices that this process may use; None for all.
    """

    address: str
    count: int
    process: int
    devices: Sequence[int] | None


def _find_cluster() -> _Cluster | None:
    """Reads the environment, or asks JAX for a cluster; None if there is only this process."""
    settings = {name: os.environ[name] for name in _SETTINGS if name in os.environ}
    for name in _SETTINGS[1:]:
        if name in settings and not settings[name].isdecimal():
            raise UserError(f"{name} is {settings[name]!r}, expected a whole number")
    address = settings.get(_SETTINGS[0])
    if address is not None and not re.fullmatch(r".+:\d+", address):
        raise UserError(f"{_SETTINGS[0]} is {address!r}, expected HOST:PORT, such as host0:1234")
    count, process = (int(settings[name]) if name in settings else None for name in _SETTINGS[1:])
    address, count, process, devices = ClusterEnv.auto_detect_unset_distributed_params(
        address, count, process, None, None, _START_TIMEOUT
    )
    if not settings and address is None:
        return None
    if address is None or count is None or process is None:
        values = zip(_SETTINGS, (address, count, process), strict=True)
        missing = [name for name, value in values if value is None]
        raise UserError(
            f"{' and '.join(missing)}: not set; set all of {', '.join(_SETTINGS)}, or none"
        )
    if not 0 <= process < count:
        raise UserError(
            f"{_SETTINGS[2]} is {process}, expected less than {_SETTINGS[1]}, which is {count}"
        )
    return _Cluster(address, count, process, devices) if count > 1 else None


def _join(cluster: _Cluster) -> None:
    """Waits until all processes have joined."""
    joined = threading.Event()
    threading.Thread(target=_report_waiting, args=(cluster, joined), daemon=True).start()
    jax.config.update("jax_enable_preemption_service", False)  # see vtmask.training.preemption
    try:
        jax.distributed.initialize(
            cluster.address,
            cluster.count,
            cluster.process,
            cluster.devices,
            initialization_timeout=_START_TIMEOUT,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT,
        )
    finally:
        joined.set()


def _report_waiting(cluster: _Cluster, joined: threading.Event) -> None:
    """Reports periodically which processes this one waits for."""
    start = "start them with srun" if "SLURM_JOB_ID" in os.environ else "start the others, too"
    begun, pause = time.monotonic(), _REPORT_AFTER
    while not joined.wait(pause):
        pause = _REPORT_EVERY
        others = f"{cluster.count - 1} of {cluster.count} processes at {cluster.address}"
        print(
            f"process {cluster.process}: waiting for {others}; {start} "
            f"({time.monotonic() - begun:.0f} s of {_START_TIMEOUT} s)",
            file=sys.stderr,
        )


def _connect() -> None:
    """Connects all devices by a first exchange, right after `wait_for_all`."""
    count = jax.device_count()
    zeros = np.zeros(count, np.float32)
    place = NamedSharding(Mesh(np.array(jax.devices()), ("all",)), PartitionSpec("all"))
    numbers = jax.make_array_from_callback((count,), place, lambda part: zeros[part])
    jax.block_until_ready(jnp.sum(numbers))


def _leave() -> None:
    """Ends this process without waiting for the others, which may hang.

    The first process waits a little, so that the others can report their errors: JAX ends them
    when the first one is gone.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if is_first():
        time.sleep(3)
    os._exit(1)
