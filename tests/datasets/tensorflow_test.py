"""TensorFlow is imported on first use, quietly and without a GPU."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
import vtmask.datasets.builder, vtmask.inputs.pipeline
assert "tensorflow" not in sys.modules
from vtmask.datasets.tensorflow import tf
assert tf.constant(2).numpy() == 2
assert tf.config.get_visible_devices("GPU") == []
"""


def test_tensorflow_is_loaded_lazily_and_quietly() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
