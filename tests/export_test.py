"""Exported models load as saved, and refuse data that does not fit."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
import synthetic

from vtmask import export, tokenizers
from vtmask.errors import UserError
from vtmask.export import BertModel, Model
from vtmask.models import VLM, initial_params
from vtmask.models.layers import EncoderConfig
from vtmask.models.transformer import Bert

LINES = ["slide the red ball to the right", "now spin the blue box"] * 9


SENTENCE_PIECE = tokenizers.train(LINES, 40)
WORD_PIECE = tokenizers.WordPiece("\n".join((*tokenizers.CONTROL_SYMBOLS, "red")).encode())


@pytest.fixture(params=[SENTENCE_PIECE, WORD_PIECE], ids=["SentencePiece", "WordPiece"])
def model(request: pytest.FixtureRequest) -> Model:
    module, tokenizer = VLM(synthetic.CONFIG), request.param
    return Model(module, initial_params(module, 3), tokenizer, "pixels-v1", 0.5, {"seed": 3})


@dataclasses.dataclass
class Data:
    """The extractor and tokenizer of a data set: by default, those of the model."""

    tokenizer: tokenizers.Tokenizer
    feature_extractor: str = "pixels-v1"
    feature_size: int = synthetic.CONFIG.feature_size
    seconds_per_feature: float = 0.5
    path: Path = Path("data")


def test_a_model_loads_as_saved(model: Model, tmp_path: Path) -> None:
    export.save(tmp_path / "model", model)
    loaded = export.load(tmp_path / "model")
    jax.tree.map(np.testing.assert_array_equal, loaded.params, model.params)
    assert loaded.module.config == model.module.config
    assert type(loaded.tokenizer) is type(model.tokenizer)
    assert loaded.tokenizer.sha256 == model.tokenizer.sha256
    assert (loaded.feature_extractor, loaded.seconds_per_feature) == ("pixels-v1", 0.5)
    assert loaded.config == {"seed": 3}


def test_data_with_other_inputs_is_refused(model: Model) -> None:
    model.require_same_inputs(Data(model.tokenizer))
    with pytest.raises(UserError, match="data: its features are from 's3d', .* 'pixels-v1'"):
        model.require_same_inputs(Data(model.tokenizer, feature_extractor="s3d"))
    with pytest.raises(UserError, match="data: its features are 768 numbers wide, .* on 16;"):
        model.require_same_inputs(Data(model.tokenizer, feature_size=768))
    with pytest.raises(UserError, match="data: its features are 1.0 s each, .* on 0.5 s;"):
        model.require_same_inputs(Data(model.tokenizer, seconds_per_feature=1.0))
    other = tokenizers.train(["lift a green star", "lower it"] * 9, 30)
    with pytest.raises(UserError, match="data: its captions were tokenised with another") as error:
        model.require_same_inputs(Data(other))
    assert f"with the model's {model.tokenizer.file_name}" in str(error.value)


def test_a_damaged_export_is_reported(model: Model, tmp_path: Path) -> None:
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
    (tmp_path / "model.json").write_text(json.dumps(card | {"sizes": {"width": 1}}))
    with pytest.raises(UserError, match="model.json: sizes: .*'width'; export the model again"):
        export.load(tmp_path)
    (tmp_path / "model.json").write_text("[]")
    with pytest.raises(UserError, match="model.json: is damaged"):
        export.load(tmp_path)
    with pytest.raises(UserError, match="json: no such folder; .*`vtmask convert` makes one"):
        export.load(tmp_path / "model.json")
    del card["tokenizer"]
    (tmp_path / "model.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match="model.json: has no tokenizer"):
        export.load(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps(card | {"model": "gpt"}))
    with pytest.raises(UserError, match="model.json: model is 'gpt', expected 'vlm' or"):
        export.load(tmp_path)


def test_a_bert_requires_only_the_same_tokenizer(model: Model, tmp_path: Path) -> None:
    model_config = EncoderConfig(
        hidden_size=32, num_layers=2, num_heads=2, mlp_size=64, vocab_size=50
    )
    names = ("words", "positions", "segments", "embedding_norm", "encoder")
    params = {name: model.params[name] for name in names}
    bert = BertModel(Bert(model_config), params, model.tokenizer, {"seed": 4})
    export.save(tmp_path / "bert", bert)
    assert "feature_extractor" not in json.loads((tmp_path / "bert" / "model.json").read_text())
    loaded = export.load_any(tmp_path / "bert")
    assert isinstance(loaded, BertModel)
    assert loaded.module.config == model_config and loaded.config == {"seed": 4}
    jax.tree.map(np.testing.assert_array_equal, loaded.params, params)
    loaded.require_same_inputs(Data(model.tokenizer, "anything", 768, 3.0))
    with pytest.raises(UserError, match="data: its captions were tokenised with another"):
        loaded.require_same_inputs(Data(tokenizers.train(["lift a green star"] * 9, 20)))
    with pytest.raises(UserError, match="bert/model.json: model is 'bert', expected one of video"):
        export.load(tmp_path / "bert")


def test_unused_parameters_are_kept_beside_the_model(model: Model, tmp_path: Path) -> None:
    export.save(tmp_path, model)
    assert export.load_unused(tmp_path) == {}
    unused: dict[str, np.ndarray] = {
        "bert.pooler.dense.bias": np.array([1, -0.0], np.float32),
        "bert.embeddings.position_ids": np.arange(3)[None],
    }
    export.save(tmp_path, model, unused)
    actual = export.load_unused(tmp_path)
    assert {name: (value.dtype, value.tobytes()) for name, value in actual.items()} == {
        name: (value.dtype, value.tobytes()) for name, value in unused.items()
    }
    path = tmp_path / "unused.npz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match="unused.npz: is damaged; convert the model again"):
        export.load_unused(tmp_path)


def test_a_failed_export_leaves_no_files(model: Model, tmp_path: Path) -> None:
    class Full(type(model.tokenizer)):  # type: ignore[misc]
        def save(self, folder: str | Path) -> None:
            raise OSError(28, "No space left on device")

    full = dataclasses.replace(model, tokenizer=Full(model.tokenizer.content))
    with pytest.raises(UserError, match="export: model can't be written .No space left on device"):
        export.save(tmp_path / "export", full)
    assert not list(tmp_path.iterdir())
