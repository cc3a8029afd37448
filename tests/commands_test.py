"""train.py and evaluate.py as a user runs them: results, resuming, and one-line errors."""

import dataclasses
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import in_memory
import jax
import numpy as np
import pytest
import synthetic
import tensorflow_datasets as tfds
from absl.testing import flagsaver
from ml_collections import ConfigDict

import evaluate
import train
from data import build
from data.folder.folder_dataset_builder import Builder, FolderConfig
from vtmask import export, recipe
from vtmask.errors import UserError
from vtmask.inputs.dataset import Dataset
from vtmask.training import Params, warm_start

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"JAX_PLATFORMS": "cpu"}
SMALL = [
    "--config.batch_size=8",
    "--config.model.hidden_size=32",
    "--config.model.num_layers=2",
    "--config.model.mlp_size=64",
]
PRETRAIN = ["train.py", "--config=configs/demo.py", *SMALL]
PRETRAIN += ["--config.num_steps=40", "--config.checkpoint.every=10"]
PRETRAIN += ["--config.task.budgets=()"]  # less to compile
RETRIEVAL = ["--config=configs/demo_retrieval.py", *SMALL, "--config.task.isolated_layers=2"]
RETRIEVAL += ["--config.data.split=train", "--config.num_steps=3"]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, *arguments)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, env=ENVIRONMENT)


def error(*arguments: str) -> str:
    return error_of(command(*arguments))


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """Returns the last line, an error, of a command that must fail."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    return last


@pytest.fixture
def run_program(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., str | int | None]:
    """Returns a function that runs a program in this process, which saves its imports.

    The function returns what the program exits with: the line of an error, or the status.
    """

    def run(*arguments: str) -> str | int | None:
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "argv", list(arguments))
        monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # programs set it
        # JAX looks for other processes, which it refuses after a computation.
        monkeypatch.setattr("jax._src.xla_bridge.backends_are_initialized", lambda: False)
        with flagsaver.flagsaver(), pytest.raises(SystemExit) as ended:
            runpy.run_path(arguments[0], run_name="__main__")
        assert "Traceback" not in capfd.readouterr().err
        return ended.value.code

    return run


def data(folder: Path) -> list[str]:
    return ["--config.data.name=demo/tiny", f"--config.data.dir={folder}"]


def small(name: str, folder: Path, **overrides: Any) -> ConfigDict:
    """Returns the recipe with the settings of `SMALL`, for runs in this process."""
    settings = {"batch_size": 8, "num_steps": 1, "data__name": "demo/tiny", "data__split": "train"}
    model_config = {"model__hidden_size": 32, "model__num_layers": 2, "model__mlp_size": 64}
    config = synthetic.recipe(name, data__dir=str(folder), **settings | model_config)
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in overrides.items()})
    if config.task.get("isolated_layers") is not None:
        config.task.isolated_layers = 2
    return config


def message_of(function: Any, *arguments: Any) -> str:
    """Returns the one line that `vtmask.cli` prints for a program that must fail."""
    with pytest.raises(UserError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def pretrained(demo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Workdir of a finished small pre-training run."""
    workdir = tmp_path_factory.mktemp("pretrained")
    done = command(*PRETRAIN, *data(demo_dir), f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    return workdir


def test_a_killed_and_resumed_run_has_the_same_bits(
    pretrained: Path, demo_dir: Path, tmp_path: Path, run_program: Callable[..., Any]
) -> None:
    arguments = [*PRETRAIN, *data(demo_dir), f"--workdir={tmp_path}"]
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.DEVNULL
    )
    while not (tmp_path / "checkpoints" / "10").exists():
        assert process.poll() is None, "ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "export").exists()

    assert not run_program(*arguments)
    uninterrupted, resumed = export.load(pretrained / "export"), export.load(tmp_path / "export")
    jax.tree.map(np.testing.assert_array_equal, uninterrupted.params, resumed.params)


def test_a_full_disk_leaves_earlier_checkpoints_intact(
    pretrained: Path, demo_dir: Path, tmp_path: Path, run_program: Callable[..., Any]
) -> None:
    shutil.copytree(pretrained, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "checkpoints" / "40")
    shutil.rmtree(tmp_path / "export")
    resume = [*PRETRAIN, *data(demo_dir), f"--workdir={tmp_path}"]
    limited = ["sh", "-c", 'ulimit -f 100; exec "$@"', "sh"]  # writes fail as on a full disk
    message = error_of(run(*limited, sys.executable, *resume))
    assert "checkpoints: checkpoint can't be written" in message and "step 30 is saved" in message

    assert not run_program(*resume)
    uninterrupted, resumed = export.load(pretrained / "export"), export.load(tmp_path / "export")
    jax.tree.map(np.testing.assert_array_equal, uninterrupted.params, resumed.params)


def test_damaged_parameters_are_reported(pretrained: Path, demo_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(pretrained / "export", tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / "params").rglob("d/*"):
        path.write_bytes(b"")
    arguments = [f"--model={tmp_path}", f"--out={tmp_path}/test"]
    assert error("evaluate.py", *RETRIEVAL, *data(demo_dir), *arguments) == (
        f"error: {tmp_path}/params: can't be read; export the model again"
    )


def test_fine_tuning_and_evaluation(
    pretrained: Path, demo_dir: Path, tmp_path: Path, run_program: Callable[..., Any]
) -> None:
    init = f"--config.init_from={pretrained}/export"
    assert not run_program(
        "train.py", *RETRIEVAL, *data(demo_dir), init, f"--workdir={tmp_path}/run"
    )
    arguments = [f"--model={tmp_path}/run/export", f"--out={tmp_path}/test"]
    other = small("demo_retrieval", demo_dir)
    other.task.isolated_layers = 1
    message = message_of(evaluate.main, other, f"{tmp_path}/run/export", tmp_path / "test")
    assert "isolated_layers is 1, but" in message and message.endswith("was trained with 2")
    done = command("evaluate.py", *RETRIEVAL, *data(demo_dir), *arguments)
    assert done.returncode == 0, done.stderr
    actual = json.loads((tmp_path / "test" / "metrics.json").read_text())
    assert actual["videos"] == 8
    assert actual["pre-trained"] == f"{pretrained}/export"
    for direction in ("text to video", "video to text"):
        metrics = actual["metrics"][direction]
        assert 0 <= metrics["R@1"] <= metrics["R@5"] <= metrics["R@10"] == 1
        assert f"{metrics['R@5'] * 100:.1f}" in (tmp_path / "test" / "report.html").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature_extractor": "other-v1"}, "its features are from 'other-v1'"),
        ({"seconds_per_feature": 0.5}, "its features are 0.5 s each, the model was trained on 1.0"),
        ({"tokenizer_sha256": "0"}, "is not the tokenizer these captions were tokenised with"),
    ],
)
def test_data_from_another_extractor_or_tokenizer_is_refused(
    pretrained: Path, demo_dir: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    shutil.copytree(demo_dir, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "demo" / "tiny" / "2.0.0" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    config = small("demo_retrieval", tmp_path, init_from=f"{pretrained}/export")
    assert message in message_of(train.main, config, tmp_path / "run")


def test_features_of_another_width_are_refused(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manual, model = tmp_path / "manual", f"{pretrained}/export"
    manual.mkdir()
    np.save(manual / "a.npy", np.ones((5, 8), np.float32))
    (manual / "a.txt").write_text("spin the red ball")
    fields = {"name": "narrow", "feature_size": 8}
    flags = [f"--config={json.dumps(fields)}", f"--manual_dir={manual}", f"--data_dir={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["build", "folder", *flags, f"--tokenizer={model}"])
    build.main()
    overrides = {"data__name": "folder/narrow", "eval__split": "train"}
    config = small("demo_retrieval", tmp_path, init_from=model, **overrides)
    message = "its features are 8 numbers wide, the model was trained on 512; build the data set"
    assert message in message_of(train.main, config, tmp_path / "run")
    assert message in message_of(evaluate.main, config, model, tmp_path / "test")


def test_a_starting_model_of_another_size_is_refused(
    pretrained: Path, demo_dir: Path, tmp_path: Path
) -> None:
    start = {"init_from": f"{pretrained}/export", "model__mlp_size": 128}
    config = small("demo_retrieval", demo_dir, **start)
    message = message_of(train.main, config, tmp_path)
    assert "mlp_size is 64, the config says 128; set --config.model.mlp_size=64" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=configs/demo.py", "--config.optim.lrr=1"], 'Did you mean "optim.lr"?'),
        (["--config=configs/demo.py", "--config.optim.lr=fast"], "config.optim.lr"),
        (["--config=configs/none.py"], "configs/none.py"),
        (["--config=configs/demo.py", "--config.task.objective=MTM"], "expected 'mtm' or"),
        ([], "--config"),
    ],
)
def test_a_wrong_flag_is_reported_on_one_line(
    arguments: list[str],
    message: str,
    demo_dir: Path,
    tmp_path: Path,
    run_program: Callable[..., Any],
) -> None:
    data_flags = data(demo_dir) if arguments else []
    workdir = f"--workdir={tmp_path}/run"
    ended = run_program("train.py", *arguments[:1], *data_flags, *arguments[1:], workdir)
    assert ended.startswith("error: ") and "\n" not in ended
    assert message in ended


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("demo", {"sampler__clips_per_record": 3}, "multiple of 3"),
        ("demo", {"model__num_heads": 5}, "multiple of num_heads 5"),
        ("demo", {"model__max_len": 600}, "max_len is 600"),
        ("demo", {"model__dtype": "bf16"}, "expected 'float32' or"),
        ("demo_retrieval", {}, "no split 'train[:200]'; it has train (24)"),
        ("demo", {"data__dir": "/none"}, "data.build demo"),
        ("demo", {"init_from": "/none"}, "/none: no such folder; training writes a model to"),
    ],
)
def test_a_wrong_field_is_reported_on_one_line(
    name: str, change: dict[str, Any], message: str, demo_dir: Path, tmp_path: Path
) -> None:
    location = {"data__name": "demo/tiny", "data__dir": str(demo_dir)}
    config = synthetic.recipe(name, **location | change)
    assert message in message_of(train.main, config, tmp_path)


@pytest.fixture(scope="module")
def bare(pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data folder with folder/bare, which has features and descriptions but no annotations."""
    folder = tmp_path_factory.mktemp("bare")
    for name in ("a", "b"):
        np.save(folder / f"{name}.npy", np.ones((15, 512), np.float32))
        (folder / f"{name}.txt").write_text("spin the red ball")
    tokenizer = str(pretrained / "export")
    builder = Builder(config=FolderConfig(name="bare"), data_dir=folder, tokenizer=tokenizer)
    download = tfds.download.DownloadConfig(manual_dir=folder)
    builder.download_and_prepare(download_config=download)
    return folder


@pytest.mark.parametrize(
    ("name", "to_train", "to_evaluate"),
    [
        ("demo_qa", None, "bare/1.0.0: data set has no field 'choices'; it does not fit the task"),
        ("demo_captioning", "has no field 'clips'; it does", "has no field 'clips'; it does not"),
        ("demo_localization", "has no field 'step", "has no field 'steps'; it does not fit"),
        (
            "demo_segmentation",
            "metadata.json: names no classes",
            "metadata.json: names no class but",
        ),
        ("demo_moments", "has no field 'clips'; it does", "has no field 'moments'; it does not"),
    ],
)
def test_a_data_set_without_annotations_is_refused(
    pretrained: Path,
    bare: Path,
    tmp_path: Path,
    name: str,
    to_train: str | None,
    to_evaluate: str,
) -> None:
    overrides = {"data__name": "folder/bare", "batch_size": 2, "eval__split": "train"}
    overrides["eval_every"] = 0  # it has no validation split
    config = small(name, bare, **overrides)
    if to_train:
        assert to_train in message_of(train.main, config, tmp_path)
    model = pretrained / "export"
    assert to_evaluate in message_of(evaluate.main, config, str(model), tmp_path)


def test_pre_training_cannot_be_evaluated(pretrained: Path, demo_dir: Path, tmp_path: Path) -> None:
    config = small("demo", demo_dir)
    assert message_of(evaluate.main, config, str(pretrained / "export"), tmp_path) == (
        "config.task.name, to evaluate, is 'pretrain', expected 'retrieval' or "
        "'question_answering' or 'captioning' or 'step_localization' or 'segmentation' or "
        "'moment_retrieval' or 'corpus_moment_retrieval'"
    )


def test_a_starting_model_of_another_video_length_is_refused(
    pretrained: Path, demo_dir: Path, tmp_path: Path
) -> None:
    start = {"init_from": f"{pretrained}/export"}
    config = small("demo_segmentation", demo_dir, model__max_video_len=16, **start)
    assert message_of(train.main, config, tmp_path) == (
        f"{pretrained}/export/model.json: max_video_len is 20, the config says 16; "
        "set --config.model.max_video_len=20"
    )
    free = {"model__max_len": 90, "model__scan_layers": True, "model__remat": "all"}
    train.main(small("demo_segmentation", demo_dir, **free, **start), tmp_path / "longer text")


def test_a_model_is_evaluated_at_its_own_length(
    pretrained: Path, demo_dir: Path, tmp_path: Path
) -> None:
    config = small("demo_segmentation", demo_dir, eval__stride=21)
    assert message_of(evaluate.main, config, str(pretrained / "export"), tmp_path) == (
        "config.eval.stride is 21, expected 1 to max_video_len, 20"
    )


def test_a_model_with_another_tokenizer_is_refused(
    pretrained: Path, demo_dir: Path, tmp_path: Path
) -> None:
    model = export.load(pretrained / "export")
    export.save(tmp_path, dataclasses.replace(model, tokenizer=in_memory.TOKENIZER))
    problem = "its captions were tokenised with another tokenizer"
    for name in ("demo_qa", "demo_segmentation"):
        config = small(name, demo_dir)
        assert problem in message_of(evaluate.main, config, str(tmp_path), tmp_path / "out")
        config.init_from = str(tmp_path)
        assert problem in message_of(train.main, config, tmp_path / "run")


def test_a_classifier_is_reused_only_for_the_same_classes(
    pretrained: Path, demo_dir: Path, tmp_path: Path
) -> None:
    config = small("demo_segmentation", demo_dir, init_from=f"{pretrained}/export")
    train.main(config, tmp_path)
    folder, dataset = str(tmp_path / "export"), Dataset("demo/tiny", "train", str(demo_dir))
    model, names = export.load(folder), dataset.class_names
    assert model.class_names == names and model.params["classifier"]["bias"].shape == (9,)

    def start(config: ConfigDict, class_names: tuple[str, ...]) -> Params:
        model_config = recipe.make_model(config, dataset).config
        return warm_start.exported_params(folder, model_config, dataset, class_names)

    jax.tree.map(np.testing.assert_array_equal, start(config, names), model.params)
    assert "classifier" not in start(config, ("x", *names[1:]))
    assert "classifier" not in start(small("demo_retrieval", demo_dir), ())

    export.save(folder, dataclasses.replace(model, class_names=("x", *names[1:])))
    message = message_of(evaluate.main, config, folder, tmp_path / "test")
    assert "1 of its classes were not in the model's training, such as 'background'" in message


def test_models_and_training_need_no_tensorflow() -> None:
    script = (
        "import sys; sys.modules['tensorflow'] = sys.modules['tensorflow_datasets'] = None; "
        "import vtmask.models, vtmask.training, vtmask.tasks, vtmask.export"
    )
    done = command("-c", script)
    assert done.returncode == 0, done.stderr
