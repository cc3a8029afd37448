"""A page compares runs by their names, configs, curves and evaluations."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from vtmask.errors import UserError
from vtmask.evaluation import compare, runs
from vtmask.evaluation.compare import Comparison

FACTS = {"task": "retrieval", "data set": "demo", "split": "test", "videos": 200}


def write_evaluation(folder: Path, recall: float, **facts: Any) -> None:
    folder.mkdir(parents=True)
    figures = {
        "metrics": {"text to video": {"R@1": recall, "MedR": 3.0}},
        "intervals": {"text to video": {"R@1": [recall - 0.1, recall + 0.1]}},
        "baselines": {"chance": {"R@1": 0.005}},
    }
    (folder / "metrics.json").write_text(json.dumps(FACTS | facts | figures))


def write_run(folder: Path, lr: float, lines: list[dict[str, float]], **config: Any) -> Path:
    folder.mkdir(parents=True)
    config = {"seed": 0, "optim": {"lr": lr, "warmup": 5}} | config
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Makes two runs; the first has validation both between and within the training lines."""
    first = [
        {"step": 50, "loss": 3.0, "learning_rate": 0.1},
        {"step": 50, "validation/loss": 3.5, "validation/R@1": 0.25, "validation/seconds": 1.0},
        {"step": 100, "loss": 2.0, "learning_rate": 0.1, "validation/loss": 2.5},
    ]
    second = [{"step": 100, "loss": 2.25, "learning_rate": 0.1}]
    folders = [
        write_run(tmp_path / "sweep/lr-1/retrieval", 0.1, first, temperature=0.05),
        write_run(tmp_path / "sweep/lr-2/retrieval", 0.2, second),
    ]
    for folder, recall in zip(folders, (0.25, 0.5), strict=True):
        write_evaluation(folder / "test", recall)
    return folders


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["runs/a", "runs/b"], ["a", "b"]),
        (["runs/a/qa", "runs/b/qa"], ["a", "b"]),
        (["runs/a/qa", "runs/b/moments"], ["a/qa", "b/moments"]),
        (["runs/a", "runs/a/b"], [".", "b"]),
        (["runs/a"], ["a"]),
        (["x/0/y/0", "x/0/y/1"], ["0", "1"]),
    ],
)
def test_names_are_the_parts_of_paths_that_differ(paths: list[str], names: list[str]) -> None:
    assert runs.names([Path(path) for path in paths]) == names


def test_differences_between_configs_are_listed() -> None:
    configs = [{"lr": 0.1, "seed": 0, "t": 1.0}, {"lr": 0.2, "seed": 0}, {}]
    expected = {"lr": ["0.1", "0.2", "–"], "t": ["1.0", "–", "–"]}
    assert runs.config_differences(configs) == expected


def test_curves_of_training_and_validation(folders: list[Path]) -> None:
    first, second = map(runs.read, folders)
    assert first.curve("loss") == [(50, 3.0), (100, 2.0)]
    assert first.curve("validation/loss") == [(50, 3.5), (100, 2.5)]
    assert second.curve("validation/loss") == []
    loss, recall = compare.curves({"a": first, "b": second}, {"a": "red", "b": "blue"})
    assert "Loss in training and validation" in loss.caption
    assert loss.alt.endswith("Last in validation: a 2.5 (step 100).")
    assert recall.alt == "R@1 in validation by step. Last in validation: a 0.25 (step 50)."


def test_evaluations_of_the_same_data_are_side_by_side(folders: list[Path]) -> None:
    write_evaluation(folders[0] / "val", 0.75, split="validation")
    write_evaluation(folders[1] / "again", 0.625)
    first, second = map(runs.read, folders)
    test, validation = runs.comparisons({"a": first, "b": second})
    assert test.title == "text to video, 200 videos of demo test"
    assert [(row.label, row.figures["R@1"]) for row in test.rows] == [
        ("a", 0.25),
        ("b, again", 0.625),
        ("b, test", 0.5),
    ]
    assert [(row.label, row.figures["R@1"]) for row in validation.rows] == [("a", 0.75)]


def test_the_printed_table() -> None:
    rows = [
        runs.Row(name, name, Path(), figures, {})
        for name, figures in {"a": {"R@1": 0.25}, "longer": {"R@1": 0.5, "MedR": 2.0}}.items()
    ]
    comparison = Comparison("", {"chance": {"R@1": 0.005}}, rows)
    assert compare.table(comparison).splitlines() == [
        "             R@1    MedR",
        "chance     0.5 %        ",
        "a         25.0 %        ",
        "longer    50.0 %       2",
    ]


def test_the_page(folders: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = folders[0].parents[1] / "pages/compare.html"
    compare.compare([*folders, folders[0]], out)
    printed = capsys.readouterr().out
    assert printed.startswith("\ntext to video, 200 videos of demo test\n")
    assert f"lr-2{'50.0 %':>12}{'3':>8}" in printed and printed.endswith(f"Page: {out}\n")
    page = out.read_text()
    assert "<h1>Comparison of 2 runs</h1>" in page
    assert "15.0–35.0 %" in page and "40.0–60.0 %" in page
    assert 'href="../lr-2/retrieval/test/report.html"' in page
    text = " ".join(re.sub(r"<[^>]*>", " ", page[page.index("Differences between") :]).split())
    assert (
        "optim.lr temperature steps trained lr-1 0.1 0.05 100 lr-2 0.2 – 100 " in text
        and "warmup" not in text
    )
    assert page.count("<picture>") == 2
    assert not re.search(r"(src|srcset)=\"(?!data:)|<script|url\(", page)


def test_many_differing_fields_become_rows(folders: list[Path]) -> None:
    config = {"optim": {"lr": 0.3, "warmup": 6}, "seed": 1, "name": "<b>"}
    (folders[0] / "config.json").write_text(json.dumps(config))
    out = folders[0].parents[1] / "compare.html"
    compare.compare(folders, out)
    page = out.read_text()
    assert "&lt;b&gt;" in page and "<b>" not in page
    text = " ".join(re.sub(r"<[^>]*>", " ", page[page.index("Differences between") :]).split())
    assert "lr-1 lr-2 optim.lr 0.3 0.2 optim.warmup 6 5 seed 1 0 name &lt;b&gt; –" in text


def test_folders_without_training_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_evaluation(tmp_path / "zero-shot", 0.25)
    write_evaluation(tmp_path / "published", 0.5)
    compare.compare([tmp_path / "zero-shot", tmp_path / "published"], tmp_path / "c.html")
    assert re.search(r"published +50.0 %", capsys.readouterr().out)
    assert "These runs have no config: zero-shot, published." in (tmp_path / "c.html").read_text()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (None, "", "holds no run; expected config.json"),
        ("config.json", "{", "config.json: is not JSON"),
        ("config.json", "[]", "config.json: is a list, expected a JSON object"),
        ("metrics.jsonl", "{]\n", "metrics.jsonl: a line is not JSON"),
        ("metrics.json", '{"metrics": {}}', "metrics.json: has no field 'intervals'"),
    ],
)
def test_a_folder_without_a_run_is_refused(
    tmp_path: Path, name: str | None, text: str, message: str
) -> None:
    if name:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as error:
        compare.compare([tmp_path], tmp_path / "c.html")
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "c.html").exists()
    with pytest.raises(UserError, match="gone: no such folder"):
        compare.compare([tmp_path / "gone"], tmp_path / "c.html")
