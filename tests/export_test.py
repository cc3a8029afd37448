"""Exported models load as they were saved, and refuse what does not fit."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
import synthetic

from vtmask import export, tokenizers
from vtmask.errors import UserError
from vtmask.export import Model
from vtmask.models import VLM
from vtmask.training import initial_params

LINES = ["slide the red ball to the right", "now spin the blue box"] * 9


SENTENCE_PIECE = tokenizers.train(LINES, 40)
WORD_PIECE = tokenizers.WordPiece("\n".join((*tokenizers.CONTROL_SYMBOLS, "red")).encode())


@pytest.fixture(params=[SENTENCE_PIECE, WORD_PIECE], ids=["SentencePiece", "WordPiece"])
def model(request: pytest.FixtureRequest) -> Model:
    module, tokenizer = VLM(synthetic.SIZES), request.param
    return Model(module, initial_params(module, 3), tokenizer, "pixels-v1", 0.5, {"seed": 3})


@dataclasses.dataclass
class Data:
    """What made the features and tokens of a data set: by default, as the model's."""

    tokenizer: tokenizers.Tokenizer
    feature_extractor: str = "pixels-v1"
    feature_size: int = synthetic.SIZES.feature_size
    seconds_per_feature: float = 0.5
    path: Path = Path("data")


def test_a_model_loads_as_it_was_saved(model: Model, tmp_path: Path) -> None:
    export.save(tmp_path / "model", model)
    loaded = export.load(tmp_path / "model")
    jax.tree.map(np.testing.assert_array_equal, loaded.params, model.params)
    assert loaded.module.sizes == model.module.sizes
    assert type(loaded.tokenizer) is type(model.tokenizer)
    assert loaded.tokenizer.sha256 == model.tokenizer.sha256
    assert (loaded.feature_extractor, loaded.seconds_per_feature) == ("pixels-v1", 0.5)
    assert loaded.config == {"seed": 3}


def test_data_of_other_inputs_are_refused(model: Model) -> None:
    model.require_same_inputs(Data(model.tokenizer))
    with pytest.raises(UserError, match="data: its features are from 's3d', .* 'pixels-v1'"):
        model.require_same_inputs(Data(model.tokenizer, feature_extractor="s3d"))
    with pytest.raises(UserError, match="data: its features are 768 numbers wide, .* on 16;"):
        model.require_same_inputs(Data(model.tokenizer, feature_size=768))
    with pytest.raises(UserError, match="data: its features are 1.0 s each, .* on 0.5 s;"):
        model.require_same_inputs(Data(model.tokenizer, seconds_per_feature=1.0))
    other = tokenizers.train(["lift a green star", "lower it"] * 9, 30)
    with pytest.raises(UserError, match="data: its captions were tokenised with another") as said:
        model.require_same_inputs(Data(other))
    assert f"with the model's {model.tokenizer.file_name}" in str(said.value)


def test_a_damaged_export(model: Model, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no exported model"):
        export.load(tmp_path)
    export.save(tmp_path, model)
    (tmp_path / "model.json").write_text('{"sizes"')
    with pytest.raises(UserError, match="model.json: is damaged"):
        export.load(tmp_path)
    export.save(tmp_path, model)
    card = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(card | {"tokenizer_sha256": "0"}))
    with pytest.raises(UserError, match=f"{model.tokenizer.file_name}: is not the one"):
        export.load(tmp_path)
    del card["tokenizer"]
    (tmp_path / "model.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match="model.json: has no tokenizer"):
        export.load(tmp_path)
