"""The Python API agrees with tasks and evaluations, and compiles few shapes."""

import dataclasses
import functools
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import in_memory
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from features import videos as made

import vtmask
from vtmask import api, export, models
from vtmask.api import VideoTextModel
from vtmask.errors import UserError
from vtmask.evaluation import base, ordered_steps
from vtmask.export import Model
from vtmask.features import create, extract
from vtmask.inputs import examples
from vtmask.models import VideoCLIPConfig
from vtmask.tasks import Captioning, StepLocalization, encoding

GUIDE = Path(__file__).parents[1] / "docs" / "api.md"
LONGEST = 20
LENGTHS = (20, 1, 9, 8, 17, 3)
TEXTS = [" ".join((*in_memory.TEXTS, *in_memory.TEXTS)[:n]) for n in (1, 10, 2, 0, 4)]


def vlm(
    task: dict[str, Any] | None = None, extractor: str = "made-up", **model_config: Any
) -> Model:
    """Returns an untrained VLM as exported after a task."""
    model = in_memory.model(
        **{"num_layers": 2, "max_video_len": LONGEST, "max_len": 60} | model_config
    )
    config = {"task": task or {"name": "pretrain"}}
    return dataclasses.replace(model, config=config, feature_extractor=extractor)


def videoclip() -> Model:
    model = vlm()
    model_config = VideoCLIPConfig(**dataclasses.asdict(model.module.config), num_video_layers=1)
    module = models.create(model_config)
    return dataclasses.replace(model, module=module, params=in_memory.params(module))


FORMS: dict[str, tuple[Callable[[], Model], int | None]] = {
    "VLM": (vlm, None),
    "VLM, one layer isolated": (lambda: vlm({"name": "retrieval", "isolated_layers": 1}), 1),
    "VLM, all isolated": (lambda: vlm({"name": "moment_retrieval", "isolated_layers": 2}), 2),
    "VLM of segmentation": (lambda: vlm({"name": "segmentation"}), 2),
    "VLM without a recipe": (lambda: dataclasses.replace(vlm(), config={}), None),
    "VideoCLIP": (videoclip, None),
}


@functools.cache
def small() -> Model:
    return vlm(num_layers=1)


def features(length: int, size: int = 4) -> np.ndarray:
    return np.random.default_rng(length).standard_normal((length, size)).astype(np.float32)


def clip(video: np.ndarray) -> examples.Example:
    return examples.video(vlm().module.config, video, examples.Clip(0, len(video)))


def tokens(text: str) -> np.ndarray:
    return np.array(in_memory.TOKENIZER.encode([text])[0], np.int32)


def alone(
    model: Model, function: Callable[..., Any], rows: list[examples.Example], *settings: Any
) -> np.ndarray:
    """Applies a model's function to each row by itself, padded to full length."""
    apply = jax.jit(nn.apply(lambda *arguments: function(*arguments, *settings), model.module))
    actual = [apply({"params": model.params}, *(x[None] for x in row.values())) for row in rows]
    return np.concatenate(actual)


@pytest.mark.parametrize("form", FORMS)
def test_embeddings_equal_those_of_the_tasks(form: str, tmp_path: Path) -> None:
    make, layers = FORMS[form]
    exported, form_ = make(), encoding.create(layers)
    export.save(tmp_path / "export", exported)
    model = vtmask.load(tmp_path / "export")
    videos = [features(length) for length in LENGTHS]
    inputs = [examples.text(exported.module.config, tokens(text)) for text in TEXTS]
    assert sorted(i["text_mask"].sum() for i in inputs)[::4] == [1, 38]  # no words, and cut words
    by_video = alone(exported, form_.embed_video, [clip(video) for video in videos])
    by_text = alone(exported, form_.embed_text, inputs)
    embedded: Any = (
        (model.embed_video, videos, by_video),
        (model.embed_text, TEXTS, by_text),
    )
    for embed, values, expected in embedded:
        assert expected.std(axis=0).min() > 0.01  # inputs differ
        np.testing.assert_allclose(embed(values), expected, atol=2e-6)
        np.testing.assert_allclose(embed(values[2]), expected[2], atol=2e-6)


def test_embeddings_do_not_depend_on_the_batch() -> None:
    model = VideoTextModel(small())
    videos = [features(length) for length in LENGTHS]
    inputs: Any = ((model.embed_video, videos), (model.embed_text, TEXTS))
    for embed, values in inputs:
        one_by_one = np.stack([embed(value) for value in values])
        assert one_by_one.dtype == np.float32
        np.testing.assert_allclose(embed(tuple(values[:3])), one_by_one[:3], atol=2e-6)
        many = np.tile(one_by_one, (7, 1))  # more than a batch
        np.testing.assert_allclose(embed(values * 7), many, atol=2e-6)
        assert embed([]).shape == (0, 16)
    of_jax = model.embed_video(jnp.asarray(videos[0]))
    np.testing.assert_array_equal(of_jax, model.embed_video(videos[0]))


def test_scores_are_dot_products() -> None:
    model = VideoTextModel(small())
    videos = [features(length) for length in LENGTHS]
    products = model.embed_video(videos) @ model.embed_text(TEXTS).T
    np.testing.assert_allclose(model.score(videos, TEXTS), products, atol=1e-4)
    np.testing.assert_allclose(model.score(videos[1], TEXTS), products[1], atol=1e-4)
    np.testing.assert_allclose(model.score(videos, TEXTS[2]), products[:, 2], atol=1e-4)
    np.testing.assert_allclose(model.score(videos[1], TEXTS[2]), products[1, 2], atol=1e-4)
    assert model.score([], TEXTS).shape == (0, len(TEXTS))


def _frames_and_separator(model: Any, *video: Any) -> Any:
    parts = encoding.Separate().encode_video(model, *video)
    return jnp.concatenate([parts.frames, parts.separator], axis=1)


def test_a_long_video_is_embedded_as_the_mean_of_its_seconds_and_separators() -> None:
    exported = small()
    video = features(2 * LONGEST + 3)
    parts = [video[start : start + LONGEST] for start in (0, LONGEST, 2 * LONGEST)]
    hidden = alone(exported, _frames_and_separator, [clip(part) for part in parts])
    states = [[*row[: len(part)], row[-1]] for row, part in zip(hidden, parts, strict=True)]
    model = VideoTextModel(exported)
    long, short = model.embed_video([video, video[:7]])
    np.testing.assert_allclose(long, np.concatenate(states).mean(axis=0), atol=2e-6)
    np.testing.assert_allclose(short, model.embed_video(video[:7]), atol=2e-6)


@pytest.mark.parametrize("form", ["VLM", "VLM, one layer isolated", "VideoCLIP"])
def test_localize_scores_seconds_as_evaluation_does(form: str) -> None:
    make, layers = FORMS[form]
    exported = make()
    data = in_memory.InMemory([in_memory.record(i, n) for i, n in enumerate((9, 47, 20, 21))])
    task = StepLocalization(layers)
    texts = [text for text in TEXTS if text]
    embedded_texts = base.embed_texts(exported, task.embed_steps, map(tokens, texts), 2)
    encode_frames = task.encoding.encode_frames
    expected: list[Any] = [
        frames @ embedded_texts.T
        for frames in base.over_windows(exported, encode_frames, data, 3, LONGEST // 2)
    ]
    model = VideoTextModel(exported)
    videos = [record["features"] for record in data.records]
    actual = model.localize(videos, texts)
    for video, rows, expected_rows in zip(videos, actual, expected, strict=True):
        assert rows.shape == (len(video), len(texts))
        np.testing.assert_allclose(rows, expected_rows, atol=1e-4)
        np.testing.assert_array_equal(
            ordered_steps.assign(rows), ordered_steps.assign(expected_rows)
        )
        np.testing.assert_allclose(model.localize(video, texts), expected_rows, atol=1e-4)
        np.testing.assert_allclose(model.localize(video, texts[1]), expected_rows[:, 1], atol=1e-4)
        np.testing.assert_allclose(
            model.encode_seconds(video) @ embedded_texts.T, expected_rows, atol=1e-4
        )
    assert model.localize([], texts) == []


@pytest.mark.parametrize(
    ("task", "expected_task"),
    [
        ({"name": "pretrain"}, Captioning()),
        (
            {"name": "captioning", "num_beams": 2, "max_decode_length": 9},
            Captioning(num_beams=2, max_decode_length=9),
        ),
    ],
)
def test_captions_are_decoded_with_the_settings_of_the_config(
    task: dict[str, Any], expected_task: Captioning
) -> None:
    exported = vlm(task, num_layers=1)
    videos = [features(length) for length in LENGTHS]

    def generate(module: Any, video: Any, video_mask: Any) -> Any:
        return expected_task.generate(module, {"video": video, "video_mask": video_mask})[0]

    ids = alone(exported, generate, [clip(video) for video in videos])
    expected = [exported.tokenizer.decode(row.tolist()) for row in ids]
    assert len(set(expected)) > 1
    model = VideoTextModel(exported)
    assert model.caption(videos) == expected
    assert model.caption(videos[1]) == expected[1]


def test_a_model_without_a_head_cannot_caption() -> None:
    params = {name: value for name, value in small().params.items() if name != "head"}
    model = VideoTextModel(dataclasses.replace(small(), params=params))
    with pytest.raises(UserError, match="^the model has no prediction head, which writes captions"):
        model.caption(features(3))


def test_captions_fit_a_model_with_few_text_positions() -> None:
    model = VideoTextModel(in_memory.model(max_len=12))  # 4, [SEP] included
    assert len(tokens(model.caption(features(3)))) <= 4


def test_only_the_documented_shapes_are_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    traced: dict[str, list[tuple[int, ...]]] = {}

    def count(module: Any, name: str, place: int) -> None:
        function = getattr(module, name)

        def counting(*arguments: Any, **settings: Any) -> Any:
            values = arguments[place]
            traced.setdefault(name, []).append(values.shape[:2])
            return function(*arguments, **settings)

        monkeypatch.setattr(module, name, counting)

    for name in ("embed_video", "embed_text", "encode_frames"):
        count(encoding.Encoding, name, 2)
    count(api, "_generate", 1)
    task = {"name": "captioning", "num_beams": 1, "max_decode_length": 5}
    model = VideoTextModel(vlm(task, num_layers=1))
    rng = np.random.default_rng(0)
    for _ in range(100):
        number, least = rng.integers(1, 40), rng.integers(1, LONGEST)
        videos = [features(n) for n in rng.integers(least, 3 * LONGEST, number)]
        texts = [" ".join(TEXTS[i % 5] for i in range(n)) for n in rng.integers(0, 5, number)]
        model.score(videos, texts)
        model.localize(videos[0], texts)
        model.caption([video[:LONGEST] for video in videos[:2]])
    batch_sizes, seconds, words = {1, 2, 4, 8, 16, 32}, {8, 16, 20}, {8, 16, 32, 38}
    assert traced.keys() == {"embed_video", "embed_text", "encode_frames", "_generate"}
    for name, shapes in traced.items():
        lengths = words if name == "embed_text" else seconds
        assert len(shapes) == len(set(shapes)), f"{name} compiled twice for a shape"
        assert set(shapes) <= {(size, length) for size in batch_sizes for length in lengths}


def test_video_and_feature_files_have_the_embeddings_of_their_features(tmp_path: Path) -> None:
    model = VideoTextModel(vlm(extractor="pixel-statistics-v1", feature_size=512, num_layers=1))
    path = made.write(tmp_path / "video.mp4", made.textures(72))
    seconds = extract(path, create("pixel-statistics-v1"))
    assert seconds.shape == (3, 512)
    np.save(tmp_path / "video.npy", seconds)
    expected = model.embed_video(seconds)
    np.testing.assert_array_equal(model.embed_video(path), expected)
    both = model.embed_video([str(path), tmp_path / "video.npy"])
    np.testing.assert_allclose(both, [expected, expected], atol=2e-6)

    card = {"feature_extractor": "pixel-statistics-v1", "seconds_per_feature": 1.0}
    (tmp_path / "features.json").write_text(json.dumps(card))
    np.testing.assert_array_equal(model.embed_video(tmp_path / "video.npy"), expected)
    for field, value in (("feature_extractor", "other"), ("seconds_per_feature", 0.5)):
        (tmp_path / "features.json").write_text(json.dumps(card | {field: value}))
        with pytest.raises(UserError, match=rf"video\.npy: .*json says {field} .* trained on"):
            model.embed_video(tmp_path / "video.npy")


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (features(3, 5), r"^video: features have shape \(3, 5\), expected \[rows, 4\]"),
        ([features(3), features(0)], r"^videos\[1\]: features have shape \(0, 4\), .* one row"),
        ([features(3), features(3)[0]], r"^videos\[1\]: features have shape \(4,\), expected"),
        (features(3) * np.nan, "^video: features of row 0 are not finite"),
        ({}, "^video: is dict, expected an array of features or the path of a .npy or video file"),
        ("missing.npy", "^missing.npy: cannot be read: No such file"),
        (["missing.mp4"], "^missing.mp4: "),
    ],
)
def test_an_invalid_video_is_reported(video: Any, message: str) -> None:
    model = VideoTextModel(vlm(extractor="pixel-statistics-v1"))
    for method in (model.embed_video, model.caption, lambda v: model.localize(v, "red")):
        with pytest.raises(UserError, match=message) as error:
            method(video)
        assert "\n" not in str(error.value)


def test_other_errors_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model.json"):
        vtmask.load(tmp_path)
    s3d = vlm(extractor="s3d-howto100m")
    with pytest.raises(UserError, match=r"needs weights .* vtmask.load\(folder, s3d_weights="):
        VideoTextModel(s3d).embed_video("video.mp4")
    with pytest.raises(UserError, match="weights.pth"):
        VideoTextModel(s3d, tmp_path / "weights.pth").embed_video("video.mp4")
    with pytest.raises(UserError, match="'made-up' can't be made here"):
        VideoTextModel(vlm()).embed_video("video.mp4")
    with pytest.raises(UserError, match="captions were requested, which VideoCLIP cannot do"):
        VideoTextModel(videoclip()).caption(features(3))
    with pytest.raises(UserError, match=r"^videos\[1\]: has 21 features, .* features\[:20\]"):
        VideoTextModel(vlm()).caption([features(20), features(21)])
    with pytest.raises(UserError, match=r"^texts\[1\] is int, expected str"):
        VideoTextModel(vlm()).embed_text(["red", 3])  # type: ignore[list-item]
    with pytest.raises(UserError, match=r"^texts\[0\] is NoneType, expected str"):
        VideoTextModel(vlm()).embed_text(None)  # type: ignore[arg-type]


def test_features_and_texts_need_neither_tensorflow_nor_pyav(tmp_path: Path) -> None:
    export.save(tmp_path / "export", small())
    code = """
import sys
sys.modules |= dict.fromkeys(("tensorflow", "av", "matplotlib"))
import vtmask
assert "jax" not in sys.modules
import numpy as np
model = vtmask.load("export")
assert model.score(np.ones((3, 4)), ["red"]).shape == (1,)
assert model.localize(np.ones((3, 4)), "red").shape == (3,)
assert isinstance(model.caption(np.ones((3, 4))), str)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_the_guide_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported = vlm(extractor="pixel-statistics-v1", feature_size=512, num_layers=1)
    export.save(tmp_path / "demo-run/pretrain/export", exported)
    for place, name in enumerate(("first", "second", "third")):
        made.write(tmp_path / f"{name}.mp4", made.textures(240)[::-1][place * 24 :])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    variables: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL):
        exec(block, variables)
    assert len(variables["best"]) == 2
    assert sorted(variables["ranking"]) == [0, 1, 2]
    assert variables["alike"].shape == (3, 3)
    assert variables["scores"].shape == (10, 2)
    assert variables["second"] in range(10)
    assert len(variables["captions"]) == 3
    assert isinstance(variables["caption"], str)
    assert (tmp_path / "first.png").exists()
