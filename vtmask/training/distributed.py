"""Several processes that train one model, each on its own devices and its own part of a batch.

JAX tells a process that lost another by ending it, from C++ and with a stack trace, as the rest
would wait forever. So that people read what to do, a small program beside each process has the last
word.
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
from jax._src.clusters import ClusterEnv  # what jax.distributed asks; it has no public name
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vtmask.errors import UserError
from vtmask.training.preemption import Preempted

HEARTBEAT_TIMEOUT = 30  # seconds without a sign of life after which a process counts as dead
_MOST_WAIT = 600  # seconds for others to start
_TELL_AFTER, _TELL_EVERY = 5, 30  # seconds
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

    While it waits for others, it says so. When one process ends before its time, all others end
    within a minute, with one line that says what to do.

    Raises:
      UserError: the environment tells but a part, or what can't be.
    """
    cluster = _find_cluster()
    if cluster is None:
        yield
        return
    watcher = subprocess.Popen(
        [sys.executable, "-IS", "-c", _LAST_WORD, _LOST],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is not for it
    )
    preempted: Preempted | None = None
    try:
        _join(cluster)
        wait_for_all("start")
        _connect()
        try:
            yield
        except Preempted as error:  # as all of them are
            preempted = error
        wait_for_all("the end")
    except BaseException as error:
        atexit.register(_leave)
        said = f"{error} {error.__cause__}"  # what a checkpoint could not be written for, too
        if isinstance(error, Exception) and any(name in said for name in _TRANSPORTS):
            sys.exit(1)  # the watcher tells, after all that JAX may still say
        watcher.communicate(b"said")
        raise
    watcher.communicate(b"said")
    if preempted:
        raise preempted


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


@dataclasses.dataclass(frozen=True)
class _Cluster:
    """Who trains: the first process's HOST:PORT, how many there are, which one this is, and the
    devices that it may see, None for all."""

    address: str
    count: int
    process: int
    devices: Sequence[int] | None


def _find_cluster() -> _Cluster | None:
    """What the environment tells, or JAX finds of a cluster; None where this process is alone."""
    told = {name: os.environ[name] for name in _SETTINGS if name in os.environ}
    for name in _SETTINGS[1:]:
        if name in told and not told[name].isdecimal():
            raise UserError(f"{name} is {told[name]!r}, expected a whole number")
    address = told.get(_SETTINGS[0])
    if address is not None and not re.fullmatch(r".+:\d+", address):
        raise UserError(f"{_SETTINGS[0]} is {address!r}, expected HOST:PORT, such as host0:1234")
    count, process = (int(told[name]) if name in told else None for name in _SETTINGS[1:])
    address, count, process, devices = ClusterEnv.auto_detect_unset_distributed_params(
        address, count, process, None, None, _MOST_WAIT
    )
    if not told and address is None:
        return None
    if address is None or count is None or process is None:
        found = zip(_SETTINGS, (address, count, process), strict=True)
        missing = [name for name, value in found if value is None]
        raise UserError(
            f"{' and '.join(told)}: without {' and '.join(missing)}. Set all of "
            f"{', '.join(_SETTINGS)}"
        )
    if not 0 <= process < count:
        raise UserError(
            f"{_SETTINGS[2]} is {process}, expected less than {_SETTINGS[1]}, which is {count}"
        )
    return _Cluster(address, count, process, devices) if count > 1 else None


def _join(cluster: _Cluster) -> None:
    """Waits until all processes are there."""
    joined = threading.Event()
    threading.Thread(target=_tell_of_waiting, args=(cluster, joined), daemon=True).start()
    jax.config.update("jax_enable_preemption_service", False)  # see vtmask.training.preemption
    try:
        jax.distributed.initialize(
            cluster.address,
            cluster.count,
            cluster.process,
            cluster.devices,
            initialization_timeout=_MOST_WAIT,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT,
        )
    finally:
        joined.set()


def _tell_of_waiting(cluster: _Cluster, joined: threading.Event) -> None:
    """Says for whom this process waits, soon and then again and again."""
    start = "start them with srun" if "SLURM_JOB_ID" in os.environ else "start the others, too"
    begun, pause = time.monotonic(), _TELL_AFTER
    while not joined.wait(pause):
        pause = _TELL_EVERY
        others = f"{cluster.count - 1} of {cluster.count} processes at {cluster.address}"
        print(
            f"process {cluster.process}: waits for {others}; {start} "
            f"({time.monotonic() - begun:.0f} s of {_MOST_WAIT} s)",
            file=sys.stderr,
        )


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
