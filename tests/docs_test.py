"""The examples of the user's guide run as written, and the site's links have targets."""

import ast
import dataclasses
import re
from pathlib import Path
from typing import Any

import in_memory
import nbclient
import nbformat
import numpy as np
import pytest
import synthetic

import vtmask
from docs import pages
from vtmask import export, tokenizers
from vtmask.models import VLM, initial_params

DOCS = Path(__file__).parents[1] / "docs"
GUIDE = DOCS / "tasks.md"


def test_the_guide_adds_a_task_and_reads_an_export(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    task, training, reading = blocks
    folder = tmp_path / "export"
    model_config = dataclasses.replace(synthetic.CONFIG, dropout_rate=0.0)
    tokenizer = tokenizers.train(["a b c d e f g"] * 20, 20)
    params = initial_params(VLM(model_config), 0)
    model = export.Model(VLM(model_config), params, tokenizer, "made-up", 1.0, {"task": {}})
    export.save(folder, model)

    batch = synthetic.SyntheticBatches().batch(0)
    label = np.arange(16) % 8
    batch["video"][:, 0, 0] = label  # distinguishes classes
    variables: dict[str, Any] = {
        "video": batch["video"],
        "video_mask": batch["video_mask"],
        "label": label,
    }
    exec(task + training.replace("demo-run/pretrain/export", str(folder)), variables)
    assert variables["state"].step == 20
    assert variables["metrics"]["loss"] < np.log(8)
    assert "classifier" in variables["state"].params

    exec(reading.replace("/absolute/path/export", str(folder)), variables)
    np.testing.assert_array_equal(
        variables["encoder"]["layer_0"]["mlp_in"]["kernel"],
        params["encoder"]["layer_0"]["mlp_in"]["kernel"],
    )


def test_the_notebook_scores_localises_and_plots(tmp_path: Path) -> None:
    notebook = nbformat.read(DOCS / "notebooks" / "quickstart.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in code), "commit it without outputs"

    model = in_memory.model(num_layers=1)
    folder = tmp_path / "export"
    export.save(folder, dataclasses.replace(model, config={"task": {"name": "pretrain"}}))
    videos = [tmp_path / f"{name}.npy" for name in ("first", "second")]
    for seed, path in enumerate(videos):
        features = np.random.default_rng(seed).standard_normal((6 + seed, 4))
        np.save(path, features.astype(np.float16))
    texts = ["spin the ball", "slide the ring"]
    code[0].source = (
        "from pathlib import Path\n"
        f"MODEL, TEXTS = {str(folder)!r}, {texts!r}\n"
        f"VIDEOS = [Path(path) for path in {[str(path) for path in videos]!r}]"
    )
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()

    loaded = vtmask.load(folder)
    scores = loaded.score(videos, texts)
    np.testing.assert_allclose(
        ast.literal_eval(code[2].outputs[0].data["text/plain"]), scores, atol=0.006
    )
    best = videos[scores[:, 0].argmax()]
    assert code[3].outputs[0].text == f"{best.stem} fits 'spin the ball' best.\n"
    second = loaded.localize(best, texts[0]).argmax()
    assert code[4].outputs[0].text.startswith(f"Second {second} of ")
    assert "image/png" in code[5].outputs[0].data


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("index.md", "docs/tasks.md#add-a-task", "tasks.md#add-a-task"),
        ("index.md", "docs/report.png", "report.png"),
        ("index.md", "data/folder", "data/folder.md"),
        ("data/folder.md", "../README.md#build", "index.md#build"),
        ("data/folder.md", "../../docs/features.md", "../features.md"),
        ("tasks.md", "../configs/demo.py", "recipes.md#demo"),
        ("tasks.md", "../vtmask/losses.py", f"{pages.REPOSITORY}/blob/main/vtmask/losses.py"),
        ("tasks.md", "../vtmask/tasks", f"{pages.REPOSITORY}/tree/main/vtmask/tasks"),
        (
            "papers.md",
            "../vtmask/tasks/moments.py#MomentRetrieval",
            "reference/tasks.md#vtmask.tasks.moments.MomentRetrieval",
        ),
        ("tasks.md", "https://arxiv.org/", "https://arxiv.org/"),
        ("tasks.md", "#add-a-task", "#add-a-task"),
    ],
)
def test_links_between_files_become_links_between_pages(
    page: str, link: str, expected: str
) -> None:
    markdown = f"See [`it`]({link}), not `x[0](y)`.\n\n    a[1](z)\n\n```\nb[2](z)\n```\n"
    assert pages.site_links(markdown, page, pages.copied()) == (
        markdown.replace(link, expected),
        [],
    )


def test_a_link_to_a_file_that_does_not_exist_is_reported() -> None:
    text = "[a](../vtmask/gone.py) [b](gone.md) [c](tasks.md)"
    assert pages.site_links(text, "api.md", pages.copied()) == (
        text,
        ["../vtmask/gone.py", "gone.md"],
    )
