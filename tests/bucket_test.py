"""Runs, exports, evaluations and data in a bucket equal those on disk."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import emulator
import in_memory
import jax
import numpy as np
import pytest
from emulator import Proxy
from etils import epath
from training import loop_test

import evaluate
import vtmask
from vtmask import cli, disk, export
from vtmask.errors import UserError
from vtmask.evaluation.base import Evaluation
from vtmask.inputs.dataset import Dataset
from vtmask.training.curves import read_metrics


@pytest.fixture(scope="module", autouse=True)
def bucket() -> Iterator[None]:
    """Starts an emulator with a bucket called `bucket` for all tests of this file."""
    with emulator.start("bucket") as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Returns the workdir and final parameters of a run."""
    workdir = tmp_path_factory.mktemp("on_disk")
    return workdir, loop_test.run(workdir)


@pytest.fixture(scope="module")
def in_bucket(bucket: None) -> tuple[epath.Path, Any]:
    """Returns the same for a run that is killed after the checkpoint of step 2 and resumed."""
    workdir = epath.Path("gs://bucket/run")
    with pytest.raises(loop_test.Killed):
        loop_test.run(workdir, loop_test.KilledAt())
    assert names(workdir / "checkpoints") == ["2"]
    return workdir, loop_test.run(workdir)


def names(folder: epath.Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def copy(source: Any, target: Any) -> Any:
    """Copies a folder, to or from a bucket or within it."""
    for path in source.iterdir():
        if path.is_dir():
            copy(path, target / path.name)
        else:
            target.mkdir(parents=True, exist_ok=True)
            (target / path.name).write_bytes(path.read_bytes())
    return target


def require_same(workdir: epath.Path, params: Any, on_disk: tuple[Path, Any]) -> None:
    jax.tree.map(np.testing.assert_array_equal, params, on_disk[1])
    losses = [
        [(line["step"], line["loss"]) for line in read_metrics(folder / "metrics.jsonl")]
        for folder in (workdir, on_disk[0])
    ]
    assert losses[0] == losses[1] and len(losses[0]) == 6
    assert names(workdir / "checkpoints") == ["4", "6"]
    assert (workdir / "config.json").read_text() == (on_disk[0] / "config.json").read_text()


def test_a_killed_and_resumed_run_has_the_same_bits_as_on_disk(
    in_bucket: tuple[epath.Path, Any], on_disk: tuple[Path, Any]
) -> None:
    require_same(*in_bucket, on_disk)
    assert len(names(in_bucket[0] / "tensorboard")) == 2
    assert not Path("gs:").exists()


def test_a_damaged_or_unfinished_checkpoint_is_skipped(
    in_bucket: tuple[epath.Path, Any],
    on_disk: tuple[Path, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    workdir = copy(in_bucket[0], epath.Path("gs://bucket/damaged"))
    manifest = workdir / "checkpoints" / "6" / "state" / "manifest.ocdbt"
    manifest.write_bytes(manifest.read_bytes()[:-1])
    (workdir / "checkpoints" / "7" / "state" / "d").write_text("killed while it was written")
    params = loop_test.run(workdir)
    assert (
        f"{workdir}/checkpoints/6: damaged checkpoint (state/manifest.ocdbt has changed) renamed "
        "to 6.damaged; training resumes from step 4\n" in capsys.readouterr().err
    )
    assert (workdir / "checkpoints" / "6.damaged" / "state" / "manifest.ocdbt").exists()
    (workdir / "checkpoints" / "6.damaged").rmtree()
    require_same(workdir, params, on_disk)


def test_a_workdir_with_another_config_is_refused(in_bucket: tuple[epath.Path, Any]) -> None:
    with pytest.raises(
        UserError, match=r"gs://bucket/run/config.json: .* num_steps=6, but the config has"
    ):
        loop_test.run(in_bucket[0], num_steps=7)


def test_training_survives_a_temporary_outage_of_the_bucket(on_disk: tuple[Path, Any]) -> None:
    Proxy.refused = 0

    def interrupt() -> None:
        while not epath.Path("gs://bucket/interrupted/checkpoints/2").exists():
            time.sleep(0.05)
        Proxy.out_of_order = True
        time.sleep(1)
        Proxy.out_of_order = False

    thread = threading.Thread(target=interrupt)
    thread.start()
    params = loop_test.run("gs://bucket/interrupted")
    thread.join()
    assert Proxy.refused
    require_same(epath.Path("gs://bucket/interrupted"), params, on_disk)


def test_a_missing_bucket_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="gs://elsewhere: no such bucket, or no permission"):
        loop_test.run("gs://elsewhere/run")
    with pytest.raises(UserError, match="gs://elsewhere: no such bucket"):
        export.load("gs://elsewhere/export")
    sleep = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda _: sleep(0))  # between gcsfs's retries
    disk._require_bucket.cache_clear()
    monkeypatch.setattr(Proxy, "out_of_order", True)
    with pytest.raises(UserError, match=r"gs://bucket: bucket can't be reached .try again, 503"):
        loop_test.run("gs://bucket/other")


def test_unsupported_addresses_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"s3://bucket/run: expected a folder or gs://BUCKET/"):
        loop_test.run("s3://bucket/run")
    monkeypatch.setattr("sys.argv", ["vtmask", "extract", "videos", "--out=gs://bucket/features"])
    with pytest.raises(SystemExit, match="error: gs://bucket/features: expected a path on this"):
        cli.main()
    assert not list(tmp_path.iterdir())


def test_an_export_is_written_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    folder, model = "gs://bucket/other/export", in_memory.model()
    unused = {"bert.pooler.dense.bias": np.array([1, -0.0], np.float32)}
    export.save(folder, model, unused)
    export.save(folder, model, unused)  # replaces the older one
    loaded = vtmask.load(folder)
    jax.tree.map(np.testing.assert_array_equal, loaded.exported.params, model.params)
    assert loaded.exported.tokenizer.content == model.tokenizer.content
    assert export.load_unused(folder).keys() == unused.keys()
    with pytest.raises(UserError, match="gs://bucket/none: no such folder; training writes"):
        export.load("gs://bucket/none")

    def fail(*_: Any) -> None:
        raise OSError("no more")

    monkeypatch.setattr(type(model.tokenizer), "save", fail)
    with pytest.raises(
        UserError, match="gs://bucket/other/export: model can't be written .no more"
    ):
        export.save(folder, model)
    assert not epath.Path(folder).exists()


def test_an_evaluation_writes_the_same_files_as_on_disk(
    on_disk: tuple[Path, Any], tmp_path: Path
) -> None:
    metrics = {"text to video": {"R@1": 0.5}}
    actual = Evaluation(
        metrics, {}, {}, [("text to video", "R@1")], "explained", [], [], [{"video": "v"}, {}]
    )
    (epath.Path("gs://bucket/other") / "metrics.jsonl").write_text(
        (on_disk[0] / "metrics.jsonl").read_text()
    )
    facts = {"task": "retrieval", "data set": "demo"}
    for out, run in (
        (epath.Path("gs://bucket/other/test"), epath.Path("gs://bucket/other/export")),
        (epath.Path(tmp_path), epath.Path(on_disk[0] / "export")),
    ):
        evaluate.write_numbers(out, actual, facts)
        evaluate.write_report(out / "report.html", actual, facts, run)
    written = epath.Path("gs://bucket/other/test")
    assert names(written) == ["metrics.json", "predictions.jsonl", "report.html"]
    assert json.loads((written / "metrics.json").read_text())["metrics"] == metrics
    for name in names(written)[:2]:
        assert (written / name).read_text() == (tmp_path / name).read_text()
    assert "<figure" in (written / "report.html").read_text()


def test_a_data_set_has_the_same_records_as_on_disk(demo_dir: Path) -> None:
    copy(demo_dir, epath.Path("gs://bucket/data"))
    ours, theirs = (
        Dataset("demo/tiny", "train", folder) for folder in ("gs://bucket/data", str(demo_dir))
    )
    assert ours.read([3, 0]) == theirs.read([3, 0])
    assert ours.tokenizer.sha256 == theirs.tokenizer.sha256
    with pytest.raises(UserError, match="data set demo/other is not in gs://bucket/data"):
        Dataset("demo/other", "train", "gs://bucket/data")
