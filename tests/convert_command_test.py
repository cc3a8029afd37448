"""Published weights become exports and return unchanged; made-up files of small models."""

import dataclasses
import json
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flax.linen as nn
import golden
import in_memory
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import synthetic
import torch_writer
from published import (
    CONFIG,
    HIDDEN,
    LAYERS,
    PIECES,
    POSITIONS,
    VOCABULARY,
    Weights,
    bert,
    classifier,
    converted,
    error_of,
    file_of,
    huggingface,
    plain_bert,
    videoclip,
    vlm,
)
from safetensors.numpy import save_file

import train
from vtmask import api, cli, convert, export, tokenizers
from vtmask.convert import Options
from vtmask.errors import UserError
from vtmask.export import BertModel, Model, S3DModel
from vtmask.features.s3d import S3DFeatures
from vtmask.models import VLM, VideoCLIP, VideoCLIPConfig, VLMConfig, initial_params
from vtmask.tasks.encoding import Isolated, Separate
from vtmask.training import warm_start


@pytest.fixture(scope="module")
def s3d(golden_dir: Path) -> Weights:
    weights = golden.s3d_weights(np.load(golden_dir / "s3d.npz"))
    return weights | {"conv1.bn1.num_batches_tracked": np.array(7)}


@pytest.fixture
def vocab(tmp_path: Path) -> Path:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(PIECES) + "\n")
    return path


# Published weights to exports


def test_a_vlm_is_converted(tmp_path: Path, vocab: Path) -> None:
    weights = vlm()
    model = converted(tmp_path, weights, vocab)
    assert isinstance(model, Model) and type(model.module) is VLM
    assert model.module.config == VLMConfig(**CONFIG, max_video_len=32, max_len=96)
    assert model.tokenizer.encode(["a [MASK] f"]) == [[1, 5, 10]]
    assert (model.feature_extractor, model.seconds_per_feature) == (S3DFeatures.name, 1.0)
    assert model.class_names == () and model.config["task"] == {"name": "pretrain"}
    for name, value in weights.items():
        if convert.path_of(name):
            np.testing.assert_array_equal(golden.get(model.params, name), value, name)
    like = jax.eval_shape(lambda: initial_params(model.module, 0))
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), model.params)
    assert shapes == jax.tree.map(lambda x: (x.shape, x.dtype), like)


def test_a_fine_tuned_vlm_is_converted_with_its_classes(tmp_path: Path, vocab: Path) -> None:
    model = converted(tmp_path, classifier(), vocab)
    assert model.module.config.num_classes == 4 and "head" not in model.params
    assert model.class_names == ("class 0", "class 1", "class 2", "class 3")
    assert model.config["task"]["name"] == "segmentation"
    names = tmp_path / "names.txt"
    names.write_text("none\ncut\nfry an egg\nstir\n")
    named = converted(tmp_path, classifier(), vocab, class_names=names)  # replaces the export
    assert named.class_names == ("none", "cut", "fry an egg", "stir")
    hidden = np.ones((2, HIDDEN), np.float32)
    scores = nn.apply(lambda vlm: vlm.classify(hidden), named.module)({"params": named.params})
    expected = hidden @ classifier()["mmmodel.mm_encoder.classifier.weight"].T
    expected += classifier()["mmmodel.mm_encoder.classifier.bias"]
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


def test_an_export_records_its_isolated_layers(tmp_path: Path, vocab: Path) -> None:
    assert api.encoding(converted(tmp_path, vlm(), vocab)) == Separate()
    assert api.encoding(converted(tmp_path, vlm(), vocab, isolated_layers=1)) == Isolated(1)


def test_options_that_have_no_effect_are_refused(tmp_path: Path, vocab: Path, s3d: Weights) -> None:
    file = file_of(tmp_path / "s3d.pt", s3d)
    assert error_of(tmp_path, file, Options(vocab=vocab)) == (
        f"{file}: is an S3D, which takes only --out"
    )
    converted(tmp_path, vlm(), vocab)
    problem = "export: is an exported model, which takes only --out"
    with pytest.raises(UserError, match=problem):
        convert.convert(tmp_path / "export", tmp_path / "x.pt", Options(max_len=50))


def test_a_videoclip_is_converted(tmp_path: Path, vocab: Path) -> None:
    weights = videoclip()
    options = {"num_heads": 4, "max_video_len": 20, "max_len": 50, "feature_extractor": "clip"}
    model = converted(tmp_path, weights, vocab, **options)
    assert type(model.module) is VideoCLIP
    model_config = model.module.config
    assert (model_config.num_layers, model_config.num_video_layers, model_config.num_heads) == (
        LAYERS,
        1,
        4,
    )
    assert (model_config.max_video_len, model_config.max_len, model_config.cls_id) == (20, 50, 2)
    assert model.feature_extractor == "clip"
    for name, value in weights.items():
        if convert.path_of(name):
            np.testing.assert_array_equal(golden.get(model.params, name), value, name)


def test_a_bert_is_converted_from_its_folder(tmp_path: Path) -> None:
    folder = huggingface(tmp_path / "bert", bert())
    convert.convert(folder, tmp_path / "export", Options())
    model = export.load_any(tmp_path / "export")
    assert isinstance(model, BertModel)
    model_config = model.module.config
    assert (model_config.num_layers, model_config.num_heads, model_config.num_positions) == (
        LAYERS,
        8,
        POSITIONS,
    )
    for name, value in bert().items():
        if convert.path_of(name):
            np.testing.assert_array_equal(golden.get(model.params, name), value, name)
    with pytest.raises(UserError, match="model is 'bert', expected one of video and text"):
        export.load(tmp_path / "export")


def test_older_names_and_safetensors_of_bert_are_converted(tmp_path: Path, vocab: Path) -> None:
    full = converted(tmp_path, bert(), vocab).params
    plain = converted(tmp_path, plain_bert(), vocab).params
    assert full.keys() - plain.keys() == {"head", "decoder_bias"}
    jax.tree.map(np.testing.assert_array_equal, plain, {name: full[name] for name in plain})
    half = {name: value.astype(ml_dtypes.bfloat16) for name, value in bert().items()}
    save_file(half, tmp_path / "half.safetensors")
    convert.convert(tmp_path / "half.safetensors", tmp_path / "half", Options(vocab=vocab))
    words = export.load_any(tmp_path / "half").params["words"]["embedding"]
    assert words.dtype == np.float32
    np.testing.assert_allclose(words, full["words"]["embedding"], rtol=2**-8)


def test_s3d_gives_the_same_features_from_its_file_and_its_export(
    tmp_path: Path, vocab: Path, s3d: Weights
) -> None:
    model = converted(tmp_path, s3d, vocab)
    assert isinstance(model, S3DModel)
    frames = np.random.default_rng(0).integers(0, 256, (1, 30, 224, 224, 3), np.uint8)
    of_file = S3DFeatures(tmp_path / "published.pt", batch_size=1)(frames)
    of_folder = S3DFeatures(tmp_path / "export", batch_size=1)(frames)
    np.testing.assert_array_equal(of_folder, of_file)
    converted(tmp_path, bert(), vocab)
    with pytest.raises(UserError, match="export/model.json: is of another model, expected an S3D"):
        S3DFeatures(tmp_path / "export")


# Refused inputs


@pytest.mark.parametrize("make", [vlm, classifier, videoclip, bert, plain_bert])
def test_a_missing_parameter_is_named(tmp_path: Path, vocab: Path, make: Any) -> None:
    """Tests every few parameters, without those that a BERT stores twice: words and bias."""
    weights, file = make(), tmp_path / "x.pt"
    needed = [name for name in weights if convert.path_of(name) and "predictions" not in name]
    needed = [name for name in needed if make is not bert or "word_embeddings" not in name]
    for name in needed[:: len(needed) // 6]:
        rest = {other: value for other, value in weights.items() if other != name}
        modern = name.replace("gamma", "weight").replace("beta", "bias")
        actual = error_of(tmp_path, file_of(file, rest), Options(vocab=vocab))
        assert actual.startswith(f"{file}: ") and f"{modern} is missing" in actual


def test_parameters_that_do_not_fit_are_refused(tmp_path: Path, vocab: Path) -> None:
    file, root = tmp_path / "x.pt", "mmmodel.mm_encoder"

    def problem(changes: dict[str, Any]) -> str:
        arrays = {f"{root}.{name}": value.astype(np.float32) for name, value in changes.items()}
        actual = error_of(tmp_path, file_of(file, vlm() | arrays), Options(vocab=vocab))
        assert actual.startswith(f"{file}: ")
        return actual.removeprefix(f"{file}: ")

    adapter = {"bert.encoder.layer.1.adapter.weight": np.ones((2, 2))}
    assert problem(adapter | {"videomlp.linear2.weight": np.ones((HIDDEN, 3))}) == (
        f"parameters do not fit the model: {root}.{next(iter(adapter))} is unknown; "
        f"{root}.videomlp.linear2.weight is (128, 3), expected (128, 128)"
    )
    one_layer_more = problem({"bert.encoder.layer.9.output.dense.bias": np.ones(HIDDEN)})
    assert "layer.3.attention.self.key.bias is missing" in one_layer_more
    assert one_layer_more.endswith("and 12 more")
    positions = "bert.embeddings.position_embeddings.weight"
    assert problem({positions: np.ones(5)}) == (
        f"{root}.{positions} is (5,), expected two dimensions"
    )
    decoder = "cls.predictions.decoder.weight"
    assert problem({decoder: vlm()[f"{root}.{decoder}"] + 1}) == (
        f"{root}.{decoder} differs from mmmodel.{golden.WORDS}, which it is tied to"
    )
    strange = {"layers.0.weight": np.ones(2, np.float32)}
    assert error_of(tmp_path, file_of(file, strange), Options(vocab=vocab)) == (
        f"{file}: its parameters are of layers, expected those of a VLM, a VideoCLIP, a BERT or "
        "an S3D"
    )


def test_options_that_do_not_fit_are_refused(tmp_path: Path, vocab: Path) -> None:
    file = file_of(tmp_path / "x.pt", classifier())
    assert error_of(tmp_path, file, Options()) == (
        f"{file}: needs the tokenizer of its {VOCABULARY} words: --vocab vocab.txt"
    )
    heads = error_of(tmp_path, file, Options(vocab=vocab, num_heads=3))
    assert heads == f"{file}: its hidden size is 128, not a multiple of 3 heads; give --num_heads"
    longer = error_of(tmp_path, file, Options(vocab=vocab, max_len=101))
    assert longer.startswith(f"{file}: --max_len is 101, expected") and "at most 100" in longer
    assert error_of(tmp_path, file, Options(vocab=vocab, isolated_layers=LAYERS + 1)) == (
        f"--isolated_layers is {LAYERS + 1}, expected 0 to the layers of a VLM"
    )
    names = tmp_path / "names"
    assert "names: cannot be read: No such file" in error_of(
        tmp_path, file, Options(vocab=vocab, class_names=names)
    )
    names.write_text("one\ntwo")
    assert error_of(tmp_path, file, Options(vocab=vocab, class_names=names)) == (
        f"{names}: has 2 lines, expected 4, one per class of the model's classifier"
    )
    vocab.write_text("\n".join(PIECES[:-1]))
    assert error_of(tmp_path, file, Options(vocab=vocab)) == (
        f"{vocab}: has 10 pieces, but {file} has embeddings of 11; give the vocabulary the model "
        "was trained with"
    )


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("config.json", {"hidden_act": "relu"}, "hidden_act is 'relu', only 'gelu' can be"),
        ("config.json", {"layer_norm_eps": 1e-5}, "layer_norm_eps is 1e-05, only 1e-12 can be"),
        (
            "config.json",
            {"num_attention_heads": None},
            "heads' is NoneType, expected int",
        ),
        ("config.json", {"num_attention_heads": 7}, "not a multiple of 7 heads"),
        ("config.json", b"{", "config.json: line 1 column 2: not JSON"),
        ("config.json", b"[]", "config.json: is list, expected an object"),
        ("config.json", None, "config.json: cannot be read: No such file"),
        ("config.json", {"num_attention_heads": 0}, "not a multiple of 0 heads"),
        ("config.json", {"num_hidden_layers": 7}, "but num_hidden_layers in config.json is 7"),
        (
            "tokenizer_config.json",
            {"do_lower_case": "no"},
            "do_lower_case is 'no', expected true or",
        ),
        (
            "tokenizer_config.json",
            {"tokenizer_class": "BertJapaneseTokenizer"},
            "tokenizer_class is 'BertJapaneseTokenizer', expected BERT's",
        ),
        ("tokenizer_config.json", {"do_basic_tokenize": False}, "do_basic_tokenize is false, only"),
        ("added_tokens.json", {"<video>": 11}, "adds '<video>' to the vocabulary, only [PAD]"),
        ("tokenizer_config.json", b"[]", "tokenizer_config.json: holds list, expected an object"),
        ("vocab.txt", None, "vocab.txt: no such tokenizer file"),
        (
            "model.safetensors",
            None,
            "is neither a Hugging Face BERT (model.safetensors or ",
        ),
        ("model.safetensors", b"PK", "model.safetensors: is damaged or of another format"),
    ],
)
def test_unsupported_hugging_face_folders_are_refused(
    tmp_path: Path, name: str, change: Any, problem: str
) -> None:
    folder = huggingface(tmp_path / "bert", bert())
    path = folder / name
    if change is None:
        path.unlink()
    elif isinstance(change, bytes):
        path.write_bytes(change)
    else:
        fields = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(fields | change))
    assert problem in error_of(tmp_path, folder, Options())


def test_conversion_deletes_no_other_files(tmp_path: Path, vocab: Path) -> None:
    folder = huggingface(tmp_path / "export.tmp", bert())
    convert.convert(folder, tmp_path / "export", Options())
    assert (folder / "vocab.txt").exists()
    inside = file_of(tmp_path / "export" / "published.pt", vlm(), wrapped=True)
    problem = error_of(tmp_path, inside, Options(vocab=vocab))
    assert problem.startswith(f"{tmp_path}/export: holds {inside}, which it would replace; ")


def test_an_unwritable_path_is_reported_on_one_line(tmp_path: Path) -> None:
    folder = huggingface(tmp_path / "bert", bert())
    out = folder / "vocab.txt" / "export"
    command: list[Any] = [sys.executable, "-m", "vtmask", "convert", folder, "--out", out]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr == f"error: {out}: model can't be written (Not a directory)\n"


def test_options_that_a_bert_does_not_take_are_refused(tmp_path: Path) -> None:
    folder = huggingface(tmp_path / "bert", bert())
    problem = "is a BERT, which takes --vocab, --num_heads and --out"
    assert problem in error_of(tmp_path, folder, Options(isolated_layers=12))


def test_a_videoclip_without_a_video_encoder_is_refused(tmp_path: Path, vocab: Path) -> None:
    weights = {k: v for k, v in videoclip().items() if "video_encoder.bert.encoder" not in k}
    file = file_of(tmp_path / "published.pt", weights, True)
    assert "encoder.layer.0.intermediate.dense.weight is missing" in error_of(
        tmp_path, file, Options(vocab=vocab)
    )


def test_damaged_files_are_refused(tmp_path: Path, vocab: Path) -> None:
    options = Options(vocab=vocab)
    file = file_of(tmp_path / "x.pt", vlm())
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert f"{file}: is not a complete zip archive" in error_of(tmp_path, file, options)
    file.write_bytes(b"GGUF" + content)
    refused = error_of(tmp_path, file, options)
    assert f"{file}: begins with b" in refused and "GGUF" in refused
    file.write_bytes(torch_writer.zipped({"model": {"a": 1}}))
    assert f"{file}: holds more than parameters" in error_of(tmp_path, file, options)
    assert "no such: cannot be read" in error_of(tmp_path, tmp_path / "no such", options)
    safe = tmp_path / "x.safetensors"
    save_file(bert(), safe)
    content = safe.read_bytes()
    safe.write_bytes(content[:-5])
    assert f"{safe}: is damaged or of another format" in error_of(tmp_path, safe, options)
    header = json.dumps({"a": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}).encode()
    safe.write_bytes(struct.pack("<Q", len(header)) + header + bytes(2))
    assert f"{safe}: " in error_of(tmp_path, safe, options)


def test_hostile_files_execute_nothing(tmp_path: Path, vocab: Path) -> None:
    trap = tmp_path / "trap"
    call = torch_writer.Call(torch_writer.Name("os", "system"), (f"touch {trap}",))
    weights = {name: torch_writer.tensor(value) for name, value in vlm().items()}
    file = tmp_path / "x.pt"
    file.write_bytes(torch_writer.zipped({"model": weights, "args": call}))
    assert "nothing was executed" in error_of(tmp_path, file, Options(vocab=vocab))
    assert not trap.exists()


def test_a_failed_conversion_keeps_the_older_export(tmp_path: Path, vocab: Path) -> None:
    converted(tmp_path, vlm(), vocab)
    file = file_of(tmp_path / "x.pt", {**bert(), "bert.more.weight": np.ones(1, np.float32)})
    assert "bert.more.weight is unknown" in error_of(tmp_path, file, Options(vocab=vocab))
    assert type(export.load(tmp_path / "export").module) is VLM
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    file_of(file, vlm())
    assert "mine: exists and is not an exported model" in error_of(
        tmp_path, file, Options(vocab=vocab), "mine"
    )


# The command


def test_the_command_converts_a_file(
    tmp_path: Path, vocab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = file_of(tmp_path / "vlm.pt", vlm(), wrapped=True)
    out = tmp_path / "export"
    options = ["--vocab", vocab, "--max_video_len", 10, "--max_len", 40, "--num_heads", 4]
    command = ["vtmask", "convert", file, "--out", out, *options]
    monkeypatch.setattr(sys, "argv", [str(argument) for argument in command])
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert done.value.code == 0 and capsys.readouterr().out == f"Converted: {out}\n"
    model_config = export.load(out).module.config
    assert (model_config.max_video_len, model_config.max_len, model_config.num_heads) == (10, 40, 4)
    monkeypatch.setattr(sys, "argv", [*sys.argv[:-1], "5"])
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert str(done.value.code).startswith(f"error: {file}: its hidden size is 128, not a multiple")


# Exports to published weights


def published_again(folder: Path) -> Weights:
    """Converts an export back to published weights."""
    unused = export.load_unused(folder)
    return convert.published_weights(export.load_any(folder), unused)


def assert_same(converted_back: Weights, weights: Weights) -> None:
    assert list(converted_back) == list(weights)
    for name, value in weights.items():
        again = converted_back[name]
        assert (again.dtype, again.shape) == (value.dtype, value.shape), name
        assert again.tobytes() == value.tobytes(), name


@pytest.mark.parametrize("make", [vlm, classifier, videoclip, bert, plain_bert, None])
def test_a_round_trip_keeps_every_bit(tmp_path: Path, vocab: Path, s3d: Weights, make: Any) -> None:
    weights = make() if make else s3d
    converted(tmp_path, weights, vocab)
    assert_same(published_again(tmp_path / "export"), weights)


@pytest.mark.parametrize("make", [vlm, bert])
def test_pytorch_reads_the_converted_file(tmp_path: Path, vocab: Path, make: Any) -> None:
    torch = pytest.importorskip("torch")
    weights = make()
    converted(tmp_path, weights, vocab)
    convert.convert(tmp_path / "export", tmp_path / "back.pt", Options())
    content = torch.load(tmp_path / "back.pt", weights_only=True)
    tensors = content["model"] if make is vlm else content
    assert all(tensor.is_contiguous() for tensor in tensors.values())
    assert_same({name: tensor.numpy() for name, tensor in tensors.items()}, weights)
    assert not list(tmp_path.glob("*.tmp"))


def test_tied_parameters_that_safetensors_omit_are_restored(tmp_path: Path) -> None:
    once = {name: value for name, value in bert().items() if ".decoder." not in name}
    folder = huggingface(tmp_path / "bert", once)
    convert.convert(folder, tmp_path / "export", Options())
    weights = published_again(tmp_path / "export")
    assert weights.keys() == bert().keys()
    for name, value in bert().items():
        np.testing.assert_array_equal(weights[name], value)


@pytest.mark.parametrize("bias", [0.0, 0.5])
@pytest.mark.parametrize("published", [vlm, videoclip])
def test_a_model_trained_here_gets_the_published_names(published: Any, bias: float) -> None:
    """Parameters have the names that the published code expects. Unused ones are zero."""
    module: VLM | VideoCLIP = VLM(VLMConfig(**CONFIG))
    if published is videoclip:
        module = VideoCLIP(VideoCLIPConfig(**CONFIG, num_video_layers=1))
    params = initial_params(module, 1)
    if published is vlm:
        params["decoder_bias"] = jnp.full(VOCABULARY, bias)
    tokenizer = tokenizers.WordPiece("\n".join(PIECES).encode())
    model = Model(module, params, tokenizer, "made-up", 1.0, {})
    weights = convert.published_weights(model, None)
    predictions = "mmmodel.mm_encoder.cls.predictions."
    biases = {f"{predictions}bias", f"{predictions}decoder.bias"}
    assert weights.keys() == published().keys() | (biases if published is vlm and bias else set())
    for name, like in published().items():
        assert weights[name].shape == like.shape
        ours = golden.get(params, name)
        if "position_ids" in name:
            np.testing.assert_array_equal(weights[name], np.arange(POSITIONS)[None])
        elif ours is None:
            assert not weights[name].any()
        else:
            np.testing.assert_array_equal(weights[name], ours)


def test_converting_back_needs_pytorch_and_a_file_name(
    tmp_path: Path, vocab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted(tmp_path, vlm(), vocab)
    monkeypatch.setitem(sys.modules, "torch", None)
    problem = error_of(tmp_path, tmp_path / "export", Options(), "back.pt")
    assert problem.endswith("PyTorch is not installed; pip install -e '.[convert]'")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    assert "is a folder, expected the name of a file" in error_of(
        tmp_path, tmp_path / "export", Options(), "."
    )


def test_a_missing_safetensors_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    problem = error_of(tmp_path, tmp_path / "x.safetensors", Options())
    assert "safetensors is not installed" in problem and ".[convert]" in problem


def test_a_full_disk_keeps_the_older_file(
    tmp_path: Path, vocab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")

    def save(content: Any, file: Any) -> None:
        file.write(b"some")
        raise OSError(28, "No space left on device")

    converted(tmp_path, vlm(), vocab)
    (tmp_path / "back.pt").write_text("older")
    monkeypatch.setattr(torch, "save", save)
    actual = error_of(tmp_path, tmp_path / "export", Options(), "back.pt")
    assert actual.endswith("back.pt: can't be written (No space left on device)")
    assert (tmp_path / "back.pt").read_text() == "older"


# Training from converted models


def start(tmp_path: Path, vocab: Path, model_config: VLMConfig) -> Any:
    dataset = in_memory.dataset(tokenizer=tokenizers.load(vocab), feature_size=5)
    return warm_start.exported_params(str(tmp_path / "export"), model_config, dataset, ())


def test_a_vlm_starts_from_bert(tmp_path: Path, vocab: Path) -> None:
    bert_params = converted(tmp_path, bert(), vocab).params
    model_config = VLMConfig(**CONFIG)
    params = warm_start.completed(start(tmp_path, vocab, model_config), VLM(model_config), 3)
    fresh = initial_params(VLM(model_config), 3)
    assert params.keys() == fresh.keys()
    for name, value in params.items():
        expected = fresh if name == "video_mlp" else bert_params
        jax.tree.map(np.testing.assert_array_equal, value, expected[name])


def test_a_videoclip_starts_from_bert(tmp_path: Path, vocab: Path) -> None:
    bert_params = converted(tmp_path, bert(), vocab).params
    model_config = VideoCLIPConfig(**CONFIG, num_video_layers=2)
    params = warm_start.completed(start(tmp_path, vocab, model_config), VideoCLIP(model_config), 3)
    fresh = initial_params(VideoCLIP(model_config), 3)
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, fresh)
    jax.tree.map(
        np.testing.assert_array_equal, params["video"]["video_mlp"], fresh["video"]["video_mlp"]
    )
    for encoder in ("video", "text"):
        for name in params[encoder].keys() - {"video_mlp"}:
            value = params[encoder][name]
            expected = {key: bert_params[name][key] for key in value}
            jax.tree.map(np.testing.assert_array_equal, value, expected)
    assert list(params["video"]["encoder"]) == ["layer_0", "layer_1"]
    with pytest.raises(UserError, match="has 3 layers, too few for config.model.num_video_layers"):
        start(tmp_path, vocab, dataclasses.replace(model_config, num_video_layers=4))


def test_starting_models_that_do_not_fit_are_refused(
    tmp_path: Path, vocab: Path, s3d: Weights
) -> None:
    vlm_sizes, clip_sizes = VLMConfig(**CONFIG), VideoCLIPConfig(**CONFIG, num_video_layers=1)
    converted(tmp_path, bert(), vocab)
    with pytest.raises(UserError, match="mlp_size is 24, the config says 25"):
        start(tmp_path, vocab, dataclasses.replace(vlm_sizes, mlp_size=25))
    other_sizes = {"hidden_size": 2 * HIDDEN, "num_layers": LAYERS + 1, "mlp_size": 25}
    with pytest.raises(UserError) as caught:
        start(tmp_path, vocab, dataclasses.replace(vlm_sizes, **other_sizes))
    assert str(caught.value) == (
        f"{tmp_path}/export/model.json: hidden_size is {HIDDEN}, the config says {2 * HIDDEN}, "
        f"num_layers is {LAYERS}, the config says {LAYERS + 1}, mlp_size is 24, the config says "
        f"25; set --config.model.hidden_size={HIDDEN} --config.model.num_layers={LAYERS} "
        "--config.model.mlp_size=24"
    )
    other = tmp_path / "other.txt"
    other.write_text(vocab.read_text().replace("f", "g"))
    with pytest.raises(UserError, match="captions were tokenised with another tokenizer"):
        start(tmp_path, other, vlm_sizes)
    converted(tmp_path, vlm(), vocab, feature_extractor="made-up")
    with pytest.raises(
        UserError, match="is a VLM, but the config's model is a VideoCLIP; start from"
    ):
        start(tmp_path, vocab, clip_sizes)
    converted(tmp_path, videoclip(), vocab, feature_extractor="made-up")
    with pytest.raises(
        UserError, match="is a VideoCLIP, but the config's model is a VLM; start from"
    ):
        start(tmp_path, vocab, vlm_sizes)
    converted(tmp_path, s3d, vocab)
    with pytest.raises(UserError, match="model.json: is an S3D, expected a BERT, VLM or VideoCLIP"):
        start(tmp_path, vocab, vlm_sizes)


@pytest.mark.parametrize("name", ["vlm", "videoclip"])
def test_training_starts_from_a_converted_bert(tmp_path: Path, demo_dir: Path, name: str) -> None:
    """The data set's tokenizer is of another kind."""
    file = file_of(tmp_path / "bert.bin", {})
    tokenizer = next(demo_dir.glob("demo/tiny/*/tokenizer.model"))
    size = tokenizers.load(tokenizer).vocab_size
    weights = bert()
    for key, value in weights.items():
        if VOCABULARY in value.shape:
            weights[key] = np.resize(value, (size, *value.shape[1:]))
    file_of(file, weights)
    convert.convert(file, tmp_path / "bert", Options(vocab=tokenizer))
    config = synthetic.recipe(
        "demo" if name == "vlm" else "demo_retrieval", data__dir=str(demo_dir)
    )
    config.data.name = "demo/tiny"
    config.num_steps, config.batch_size, config.init_from = 1, 4, str(tmp_path / "bert")
    config.optim.warmup_steps = 1
    if "budgets" in config.task:
        config.task.budgets = ()  # less to compile
    config.model.name = name
    config.model.num_layers, config.model.num_heads, config.model.mlp_size = LAYERS, 2, 24
    with config.unlocked():
        config.model.num_positions = POSITIONS
        if name == "videoclip":
            config.model.num_video_layers = 1
            config.task.isolated_layers, config.data.split = None, "train"
    train.main(config, tmp_path / "run")
    trained = export.load(tmp_path / "run" / "export").params
    before = export.load_any(tmp_path / "bert").params
    after = trained if name == "vlm" else trained["video"]
    np.testing.assert_allclose(
        after["segments"]["embedding"], before["segments"]["embedding"], atol=0.01
    )
