"""The examples of the user's guide run as written."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import synthetic

from vtmask import export, tokenizers
from vtmask.models import VLM, initial_params

GUIDE = Path(__file__).parents[1] / "docs" / "tasks.md"


def test_a_new_task_is_added_and_an_export_read_as_the_guide_says(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    task, training, reading = blocks
    folder = tmp_path / "export"
    model_config = dataclasses.replace(synthetic.CONFIGS, dropout_rate=0.0)
    tokenizer = tokenizers.train(["a b c d e f g"] * 20, 20)
    params = initial_params(VLM(model_config), 0)
    model = export.Model(VLM(model_config), params, tokenizer, "made-up", 1.0, {"task": {}})
    export.save(folder, model)

    batch = synthetic.SyntheticBatches().batch(0)
    label = np.arange(16) % 8
    batch["video"][:, 0, 0] = label  # something to tell classes by
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
