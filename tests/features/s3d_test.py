import dataclasses
from pathlib import Path

import golden
import in_memory
import jax
import numpy as np
import pytest
import torch_writer
from features import videos as made

import vtmask
from vtmask import convert, export
from vtmask.errors import UserError
from vtmask.features import extract
from vtmask.features.extractors import ExtractorConfig
from vtmask.features.s3d import S3DFeatures
from vtmask.models.s3d import S3D


@pytest.fixture(scope="module")
def weights(golden_dir: Path) -> dict[str, np.ndarray]:
    return golden.s3d_weights(np.load(golden_dir / "s3d.npz"))


@pytest.fixture(scope="module")
def checkpoint(weights: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes the weights to a file like s3d_howto100m.pth."""
    path = tmp_path_factory.mktemp("s3d") / "s3d_howto100m.pth"
    tensors = {name: torch_writer.tensor(value) for name, value in weights.items()}
    path.write_bytes(torch_writer.older(tensors))
    return path


def test_features_are_unit_embeddings(
    checkpoint: Path, weights: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert S3DFeatures.window.shape == (30, 224, 224, 3)
    small = dataclasses.replace(S3DFeatures.window, image_size=64)  # less to compute
    monkeypatch.setattr(S3DFeatures, "window", small)
    frames = np.random.default_rng(0).integers(0, 256, (3, 30, 64, 64, 3), np.uint8)
    extractor = ExtractorConfig("s3d", str(checkpoint), batch_size=2).create()
    assert (extractor.name, extractor.size) == ("s3d-howto100m", 512)
    assert extractor.window.shape == frames.shape[1:] and extractor.window.seconds == 1
    features = extractor(frames)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)

    params = convert.s3d_from_published(weights)
    model = S3D(len(params["text"]["word_embd"]["embedding"]))
    embed = jax.jit(lambda x: model.apply({"params": params}, x, method=model.embed_video)[0])
    expected = np.concatenate([embed(window[None]) for window in frames])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(features, expected, atol=1e-5)

    # A resumed run batches these with other windows, and must write the same bytes.
    np.testing.assert_array_equal(extractor(frames[::-1])[::-1], features)
    np.testing.assert_array_equal(extractor(frames[1:2]), features[1:2])


def test_a_model_of_s3d_features_takes_video_files(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OneByOne(S3DFeatures):  # computes no padding of a batch
        def __init__(self, weights: Path):
            super().__init__(weights, batch_size=1)

    monkeypatch.setattr("vtmask.features.s3d.S3DFeatures", OneByOne)
    model = in_memory.model(num_layers=1, feature_size=512)
    export.save(tmp_path / "export", dataclasses.replace(model, feature_extractor="s3d-howto100m"))
    video = made.write(tmp_path / "video.mp4", made.textures(36))  # 1.5 s
    seconds = extract(video, OneByOne(checkpoint))
    assert seconds.shape == (2, 512)
    loaded = vtmask.load(tmp_path / "export", s3d_weights=checkpoint)
    np.testing.assert_array_equal(loaded.embed_video(video), loaded.embed_video(seconds))


def test_a_file_with_other_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(torch_writer.older({"layer.weight": torch_writer.tensor(np.ones((2, 2)))}))
    with pytest.raises(UserError, match="other.pth: .*do not fit.*; expected s3d_howto100m.pth"):
        S3DFeatures(path)


@pytest.mark.parametrize("value", [{"model": {}}, [1, 2], {"fc.weight": 3.0}])
def test_a_file_without_weights_is_refused(tmp_path: Path, value: object) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(torch_writer.older(value))
    with pytest.raises(UserError, match="other.pth: .*expected s3d_howto100m.pth") as error:
        S3DFeatures(path)
    assert "\n" not in str(error.value)


def test_an_unknown_dtype_is_refused(checkpoint: Path) -> None:
    with pytest.raises(UserError, match="dtype is 'float8', expected 'float32' or 'bfloat16'"):
        S3DFeatures(checkpoint, dtype="float8")
