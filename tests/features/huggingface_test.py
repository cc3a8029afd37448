"""Vision encoders of transformers are extractors. The tests make and save tiny models."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from features import videos as made

from vtmask import cli
from vtmask.errors import UserError
from vtmask.features.extractors import ExtractorConfig

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = SIZES | {"intermediate_size": 16, "image_size": 32, "patch_size": 8}


@pytest.fixture(scope="module")
def transformers() -> Any:
    pytest.importorskip("torch")
    return pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(transformers: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Saves a CLIP, a SigLIP, a DINOv2 with registers and a ResNet, each in its folder."""
    transformers.set_seed(0)
    text = SIZES | {"intermediate_size": 16, "vocab_size": 20, "max_position_embeddings": 8}
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    clip = transformers.CLIPConfig(text_config=text | ids, vision_config=VISION, projection_dim=12)
    siglip = transformers.SiglipConfig(text_config=text | ids, vision_config=VISION)
    dinov2 = transformers.Dinov2WithRegistersConfig(
        **SIZES, image_size=32, patch_size=8, num_register_tokens=3
    )
    resnet = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
    )
    shortest = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}
    square = {"size": {"height": 32, "width": 32}}
    processors = {
        "clip": transformers.CLIPImageProcessor(**shortest),
        "siglip": transformers.SiglipImageProcessor(**square),
        "dinov2": transformers.BitImageProcessor(**shortest),
        "resnet": transformers.ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=1.0),
    }
    models = {"clip": clip, "siglip": siglip, "dinov2": dinov2, "resnet": resnet}
    parent = tmp_path_factory.mktemp("models")
    for name, config in models.items():
        transformers.AutoModel.from_config(config).save_pretrained(parent / name)
        processors[name].save_pretrained(parent / name)
    return parent


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def theirs(transformers: Any, folder: Path, frames: np.ndarray, pooling: str) -> np.ndarray:
    """Returns the vectors that transformers' classes compute of frames [n, height, width, 3]."""
    torch = pytest.importorskip("torch")
    kinds = {
        "clip": transformers.CLIPModel,
        "siglip": transformers.SiglipModel,
        "dinov2": transformers.Dinov2WithRegistersModel,
        "resnet": transformers.ResNetModel,
    }
    model = kinds[folder.name].from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    pixels = processor(images=list(frames), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        if folder.name == "clip":
            outputs = model.vision_model(pixels)
            pooled = model.visual_projection(outputs.pooler_output)
            patches = outputs.last_hidden_state[:, 1:].mean(1)
        elif folder.name == "siglip":
            outputs = model.vision_model(pixels)
            pooled, patches = outputs.pooler_output, outputs.last_hidden_state.mean(1)
        elif folder.name == "dinov2":
            hidden = model(pixels).last_hidden_state
            pooled, patches = hidden[:, 0], hidden[:, 4:].mean(1)
        else:
            hidden = model(pixels).last_hidden_state
            pooled = patches = hidden.flatten(2).mean(2)
    return unit((pooled if pooling == "pooled" else patches).numpy())


@pytest.mark.parametrize("pooling", ["pooled", "patches"])
@pytest.mark.parametrize("name", ["clip", "siglip", "dinov2", "resnet"])
def test_features_equal_those_of_transformers(
    transformers: Any, folder: Path, name: str, pooling: str
) -> None:
    config = ExtractorConfig(f"hf:{folder / name}", batch_size=2, pooling=pooling)
    extractor = config.create()
    frames = np.random.default_rng(0).integers(0, 256, (3, *extractor.window.shape), np.uint8)
    features = extractor(frames)
    expected = theirs(transformers, folder / name, frames[:, 0], pooling)
    assert features.shape == (3, extractor.size) and features.dtype == np.float32
    np.testing.assert_allclose(features, expected, atol=1e-5)
    np.testing.assert_array_equal(extractor(frames[2:]), features[2:])


def test_bfloat16_activations_give_nearly_the_same_features(folder: Path) -> None:
    full = ExtractorConfig(f"hf:{folder / 'clip'}").create()
    half = ExtractorConfig(f"hf:{folder / 'clip'}", dtype="bfloat16").create()
    frames = np.random.default_rng(0).integers(0, 256, (2, *half.window.shape), np.uint8)
    np.testing.assert_allclose(half(frames), full(frames), atol=0.05)
    assert half.name == full.name and half(frames).dtype == np.float32


def test_a_feature_is_the_mean_of_its_frames(folder: Path) -> None:
    model = f"hf:{folder / 'clip'}"
    extractor = ExtractorConfig(model, frame_rate=4, frames_per_feature=2).create()
    single = ExtractorConfig(model, frame_rate=4).create()
    assert (extractor.window.shape, extractor.window.seconds) == ((2, 40, 40, 3), 0.5)
    assert extractor.name == f"{single.name}/2-frames"
    frames = np.random.default_rng(0).integers(0, 256, (3, 2, 40, 40, 3), np.uint8)
    each = single(frames.reshape(6, 1, 40, 40, 3)).reshape(3, 2, -1)
    np.testing.assert_allclose(extractor(frames), unit(each.mean(1)), atol=1e-6)


def test_names_distinguish_models(transformers: Any, folder: Path, tmp_path: Path) -> None:
    name = ExtractorConfig(f"hf:{folder / 'clip'}").create().name
    assert name.startswith("hf:clip@") and len(name) == len("hf:clip@") + 8
    assert ExtractorConfig(f"hf:{folder / 'clip'}", pooling="patches").create().name == (
        f"{name}/patches"
    )
    copy = tmp_path / "clip"
    transformers.AutoModel.from_pretrained(folder / "clip").save_pretrained(copy)
    processor = transformers.AutoImageProcessor.from_pretrained(folder / "clip")
    processor.save_pretrained(copy)
    assert ExtractorConfig(f"hf:{copy}").create().name == name
    processor.image_mean = [0.0, 0.0, 0.0]
    processor.save_pretrained(copy)
    assert ExtractorConfig(f"hf:{copy}").create().name != name


def test_the_command_extracts_features(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = made.write(tmp_path / "video.mp4", made.textures(48))  # 2 s
    command = ["extract", video, "--out", tmp_path / "out", "--model", f"hf:{folder / 'dinov2'}"]
    command += ["--frame_rate", 2, "--num_decoders", 1]

    def run(*options: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["vtmask", *map(str, command), *options])
        with pytest.raises(SystemExit) as done:
            cli.main()
        return done.value.code

    assert run("--pooling", "patches") == 0
    features = np.load(tmp_path / "out" / "video.npy")
    assert features.shape == (4, 16) and features.dtype == np.float16
    np.testing.assert_allclose(np.linalg.norm(features.astype(float), axis=1), 1, atol=1e-2)
    card = json.loads((tmp_path / "out" / "features.json").read_text())
    assert card["feature_extractor"].startswith("hf:dinov2@")
    assert card["feature_extractor"].endswith("/patches")
    assert (card["feature_size"], card["seconds_per_feature"]) == (16, 0.5)
    assert "its features have feature_extractor 'hf:dinov2@" in run()


def test_weights_without_a_pooler_need_the_pooling_of_patches(
    transformers: Any, tmp_path: Path
) -> None:
    """Classifiers have such weights. Their pooler would be random."""
    config = transformers.ViTConfig(**VISION)
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(
        tmp_path / "vit"
    )
    model = f"hf:{tmp_path / 'vit'}"
    with pytest.raises(
        UserError, match="lack pooler.dense.bias, pooler.dense.weight; set --pooling patches"
    ):
        ExtractorConfig(model).create()
    assert ExtractorConfig(model, pooling="patches").create().size == 16


def test_models_that_are_no_vision_encoders_are_refused(
    transformers: Any, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"model hf:{tmp_path}: can't be loaded: "):
        ExtractorConfig(f"hf:{tmp_path}").create()
    bert = transformers.BertConfig(**SIZES, intermediate_size=16, vocab_size=20)
    transformers.BertModel(bert).save_pretrained(tmp_path / "bert")
    transformers.AutoImageProcessor.from_pretrained(folder / "clip").save_pretrained(
        tmp_path / "bert"
    )
    with pytest.raises(UserError, match="bert: is not a usable vision encoder: "):
        ExtractorConfig(f"hf:{tmp_path / 'bert'}").create()
    with pytest.raises(UserError, match="pooling is 'max', expected 'pooled' or 'patches'"):
        ExtractorConfig(f"hf:{folder / 'clip'}", pooling="max").create()


def test_options_of_other_models_are_refused() -> None:
    with pytest.raises(UserError, match="--pooling is for hf: models, not for s3d"):
        ExtractorConfig("s3d", pooling="patches").create()
    with pytest.raises(UserError, match="--weights is for s3d, not for hf:x, which has its own"):
        ExtractorConfig("hf:x", weights="s3d.pth").create()


def test_missing_packages_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"hf:x: needs PyTorch and transformers.*'.\[hf\]'"):
        ExtractorConfig("hf:x").create()
