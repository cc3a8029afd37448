"""Conversion of published parameters: names, axes and bits."""

import re
from pathlib import Path

import golden
import ml_dtypes
import numpy as np
import pytest

from vtmask import convert
from vtmask.errors import UserError

Weights = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def s3d(golden_dir: Path) -> Weights:
    return golden.s3d_weights(np.load(golden_dir / "s3d.npz"))


@pytest.mark.parametrize(
    ("published", "ours"),
    {
        "mmmodel.mm_encoder.videomlp.linear1.weight": "video_mlp/in/kernel",
        "mm_encoder.videomlp.LayerNorm.bias": "video_mlp/norm/bias",
        "mmmodel.mm_encoder.bert.embeddings.word_embeddings.weight": "words/embedding",
        "mmmodel.mm_encoder.cls.predictions.decoder.weight": "words/embedding",
        "mmmodel.mm_encoder.cls.predictions.bias": "decoder_bias",
        "cls.predictions.decoder.bias": "decoder_bias",
        "mmmodel.video_encoder.bert.encoder.layer.5.output.dense.bias": (
            "video/encoder/layer_5/mlp_out/bias"
        ),
        "mmmodel.text_encoder.encoder.layer.11.attention.self.key.weight": (
            "text/encoder/layer_11/attention/key/kernel"
        ),
        "bert.encoder.layer.0.attention.output.LayerNorm.gamma": (
            "encoder/layer_0/attention_norm/scale"
        ),
        "embeddings.LayerNorm.beta": "embedding_norm/bias",
        "encoder.layer.3.intermediate.dense.weight": "encoder/layer_3/mlp_in/kernel",
        "bert.embeddings.word_embeddings.bias": None,
        "bert.encoder.layer.0.output.dense.gamma": None,
        "bert.encoder.layer.x.output.dense.weight": None,
        "roberta.encoder.layer.0.output.dense.weight": None,
    }.items(),
)
def test_paths_of_published_names(published: str, ours: str | None) -> None:
    assert convert.path_of(published) == ours


def test_kernel_axes_are_reordered(s3d: Weights) -> None:
    dense = np.arange(6, dtype=np.float32).reshape(2, 3)  # [out, in]
    name = "mmmodel.mm_encoder.videomlp.linear1.weight"
    actual = convert.parameters("vlm", {name: dense})
    np.testing.assert_array_equal(actual.params()["video_mlp"]["in"]["kernel"], dense.T)
    published = s3d["mixed_3b.conv_b1_b.conv1.weight"]
    kernel = convert.s3d_from_published(s3d)["video"]["mixed_3b"]["conv_b1_b"]["conv1"]["kernel"]
    assert kernel[0, 1, 2, 3, 4] == published[4, 3, 0, 1, 2]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_becomes_float32(dtype: type) -> None:
    value: np.ndarray = np.array([0.1, -3.0, 65504.0], np.float32).astype(dtype)
    bert = convert.parameters("bert", {"bert.embeddings.LayerNorm.bias": value})
    actual = bert.used["embedding_norm/bias"]
    assert actual.dtype == np.float32
    np.testing.assert_array_equal(actual, value.astype(np.float32))


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.bool_])
def test_other_types_are_refused(s3d: Weights, dtype: type) -> None:
    weights = s3d | {"fc.bias": s3d["fc.bias"].astype(dtype)}
    with pytest.raises(UserError, match=f"fc.bias is {np.dtype(dtype)}, expected one of float32"):
        convert.s3d_from_published(weights)


def test_tied_parameters_must_be_equal() -> None:
    words = np.ones((3, 2), np.float32)
    names = "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"
    both = {name: words for name in names}
    assert list(convert.parameters("bert", both).used) == ["words/embedding"]
    both[names[1]] = np.nextafter(words, 2)
    with pytest.raises(UserError, match=f"{names[1]} differs from {names[0]}, which it is tied to"):
        convert.parameters("bert", both)


def test_unused_parameters_are_kept_apart() -> None:
    names = (
        *("mmmodel.mm_encoder.bert.pooler.dense.bias", "embeddings.position_ids"),
        *("mmmodel.mm_encoder.bert.embeddings.seg_embeddings.weight", "pooler.dense.weight"),
        *("cls.seq_relationship.weight", "conv1.bn1.num_batches_tracked"),
    )
    actual = convert.parameters("vlm", {name: np.arange(3) for name in names})
    assert tuple(actual.unused) == names and not actual.used


def test_missing_unknown_and_misshapen_parameters_of_s3d_are_named(s3d: Weights) -> None:
    changed = dict(s3d)
    del changed["mixed_4d.conv_b1_b.bn2.running_var"]
    changed["mixed_9z.fc.weight"] = np.zeros((2, 2), np.float32)
    changed["conv1.conv1.bias"] = np.zeros(64, np.float32)
    changed["fc.weight"] = changed["fc.weight"][:, :100]
    with pytest.raises(UserError) as error:
        convert.s3d_from_published(changed)
    assert str(error.value) == (
        "parameters do not fit the model: mixed_4d.conv_b1_b.bn2.running_var is missing; "
        "conv1.conv1.bias is unknown; mixed_9z.fc.weight is unknown; "
        "fc.weight is (512, 100), expected (512, 1024)"
    )


def test_weights_of_another_model_are_refused() -> None:
    with pytest.raises(UserError, match="do not fit the model: .* and [0-9]+ more"):
        convert.s3d_from_published({"layer.weight": np.zeros((3, 3), np.float32)})


@pytest.mark.parametrize("content", [{}, {"model": {}}, [1], {"a": 1.0}, {1: np.ones(1)}, None])
def test_other_content_than_a_state_dict_is_refused(content: object) -> None:
    with pytest.raises(UserError, match=re.escape("holds more than parameters")):
        convert.state_dict(content)
