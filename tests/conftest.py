"""Shared fixtures of the tests."""

import fcntl
import gc
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import hypothesis
import pytest

# Tests compile the same small programs again and again.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
# Most of their time is LLVM's, which optimises programs that run for milliseconds.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# XLA's older kernel emitters take half the time of the newer ones, a quarter of a compilation.
# One module of LLVM takes less time than the 32 that would be compiled in parallel.
if version("jaxlib").startswith("0.10."):  # an XLA without one of the flags would not start
    flags = os.environ.get("XLA_FLAGS", "")
    faster = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{flags} {faster}"

os.environ.setdefault("EPATH_USE_TF", "false")  # as vtmask.disk has it

import golden

# A loaded machine may be slow, and the first example of a test may compile.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-dir",
        type=Path,
        default=golden.COMPACT,
        help="Folder of golden numbers; the full set checks more than the compact one here.",
    )
    parser.addoption(
        "--reference-dir",
        type=Path,
        help="Folder of published files (bert-base-uncased-vocab.txt, …); tests of them skip else.",
    )
    parser.addoption("--fuzz-seed", type=int, default=0, help="Where data_fuzz_test.py starts.")
    parser.addoption(
        "--fuzz-mutations", type=int, default=150, help="Damaged files of each test in it."
    )


# Folders and files of tests that take the longest.
SLOWEST = {
    *("training", "models", "tasks"),
    *("api_test", "commands_test", "convert_command_test", "extract_command_test"),
    *("parity_test", "recipes_test"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # They come first, so that processes which share the tests end together.
    items.sort(key=lambda item: SLOWEST.isdisjoint((item.path.parent.name, item.path.stem)))


def pytest_collection_finish() -> None:
    # Tracing often wakes the garbage collector. It need not scan imported modules, which stay.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def reference_dir(request: pytest.FixtureRequest) -> Path:
    folder = request.config.getoption("--reference-dir")
    if folder is None:
        pytest.skip("reads published files; --reference-dir=DIR has them")
    return folder


@pytest.fixture(scope="session")
def golden_dir(request: pytest.FixtureRequest) -> Path:
    return request.config.getoption("--golden-dir")


@pytest.fixture(scope="session")
def demo_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds a TFDS data folder with demo/tiny as a user does. Tests that damage it copy it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "demo"
    with (shared / "demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "demo/tiny/2.0.0").exists():
            command = ["-m", "data.build", "demo", "--config=tiny", f"--data_dir={folder}"]
            subprocess.run([sys.executable, *command], check=True, cwd=Path(__file__).parents[1])
    return folder
