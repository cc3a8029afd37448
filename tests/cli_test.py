"""The commands end with one line where something is wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config=configs/demo.py", "--config.optim.lrr=1"], 'Did you mean "lr"'),
        (["--config=configs/demo.py", "--config.optim.lr=fast"], "config.optim.lr"),
        (["--config=configs/none.py"], "configs/none.py"),
        (["--config=configs/demo.py", "--config.data.dir=/none"], "data.build demo"),
        (["--config=configs/demo.py", "--config.init_from=/none"], "/none: no model.json"),
        ([], "config"),
    ],
)
def test_train_says_what_is_wrong(
    arguments: list[str], said: str, demo_dir: Path, tmp_path: Path
) -> None:
    data = ["--config.data.name=demo/tiny", f"--config.data.dir={demo_dir}"] if arguments else []
    done = command("train.py", *arguments[:1], *data, *arguments[1:], f"--workdir={tmp_path}/run")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and said in last


def test_models_and_training_need_no_tensorflow() -> None:
    script = (
        "import sys; sys.modules['tensorflow'] = sys.modules['tensorflow_datasets'] = None; "
        "import vtmask.models, vtmask.training, vtmask.tasks, vtmask.export"
    )
    done = command("-c", script)
    assert done.returncode == 0, done.stderr
