import signal
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import signal
from vtmask.training import preemption

with preemption.watch() as watched:
    signal.raise_signal(signal.SIGINT)
    print("stops" if watched.stops_before(1) else "goes on", flush=True)
    signal.raise_signal(signal.SIGINT)
    print("still runs", flush=True)
"""


def test_a_second_interrupt_ends_the_program_at_once() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert ended.stdout.splitlines() == ["stops"], ended.stderr
    assert ended.returncode == -signal.SIGINT
