"""Makes weights of small models under published names, and files of them."""

import json
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest
import torch_writer
from safetensors.numpy import save_file

from vtmask import convert, export
from vtmask.convert import Options
from vtmask.errors import UserError

Weights = dict[str, np.ndarray]

HIDDEN, VOCABULARY, POSITIONS, LAYERS = 128, 11, 100, 3
META: dict[str, Any] = {
    "bert": {
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "intermediate_size": 24,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
    },
    "feature_dim": 5,
    "num_hidden_video_layers": 1,
}
CONFIG: dict[str, Any] = {
    **{"hidden_size": HIDDEN, "num_layers": LAYERS, "num_heads": 2, "mlp_size": 24},
    **{"vocab_size": VOCABULARY, "num_positions": POSITIONS, "feature_size": 5},
    **{"pad_id": 0, "cls_id": 2, "sep_id": 4, "mask_id": 5},
}
PIECES = ["[PAD]", "a", "[CLS]", "b", "[SEP]", "[MASK]", "[UNK]", *"cdef"]
POOLER = {"pooler.dense.weight": (HIDDEN, HIDDEN), "pooler.dense.bias": (HIDDEN,)}


def made_up(shapes: dict[str, tuple[int, ...]]) -> Weights:
    return {name: golden.weight("convert", name, shape) for name, shape in shapes.items()}


def position_ids() -> np.ndarray:
    return np.arange(POSITIONS)[None]


def vlm() -> Weights:
    """Makes a VLM's weights as in a published checkpoint, with the decoder tied to the words."""
    weights = made_up(golden.published_shapes(META, "vlm"))
    bert = "mm_encoder.bert."
    weights |= made_up({bert + name: shape for name, shape in POOLER.items()})
    weights |= made_up({f"{bert}embeddings.seg_embeddings.weight": (256, HIDDEN)})
    weights[f"{bert}embeddings.position_ids"] = position_ids()
    weights["mm_encoder.cls.predictions.decoder.weight"] = weights[golden.WORDS]
    return {f"mmmodel.{name}": value for name, value in weights.items()}


def classifier() -> Weights:
    """Makes a fine-tuned VLM's weights, without the pre-training head."""
    weights = {name: value for name, value in vlm().items() if ".cls." not in name}
    shapes: dict[str, tuple[int, ...]] = {"weight": (4, HIDDEN), "bias": (4,)}
    root = "mmmodel.mm_encoder.classifier"
    return weights | made_up({f"{root}.{name}": shape for name, shape in shapes.items()})


def videoclip() -> Weights:
    weights = made_up(golden.published_shapes(META, "videoclip"))
    for bert in ("video_encoder.bert.", "text_encoder."):
        weights |= made_up({bert + name: shape for name, shape in POOLER.items()})
        weights[f"{bert}embeddings.position_ids"] = position_ids()
    return {f"mmmodel.{name}": value for name, value in weights.items()}


def bert() -> Weights:
    """Makes weights as in Hugging Face's BertForPreTraining."""
    shapes = golden.published_shapes(META, "vlm")
    shapes = {name.removeprefix("mm_encoder."): shape for name, shape in shapes.items()}
    weights = made_up({name: s for name, s in shapes.items() if not name.startswith("videomlp")})
    weights |= made_up({f"bert.{name}": shape for name, shape in POOLER.items()})
    weights |= made_up({"cls.predictions.bias": (VOCABULARY,)})
    weights |= made_up({"cls.seq_relationship.weight": (2, HIDDEN)})
    weights["cls.predictions.decoder.bias"] = weights["cls.predictions.bias"]
    weights["cls.predictions.decoder.weight"] = weights["bert.embeddings.word_embeddings.weight"]
    return weights


def plain_bert() -> Weights:
    """Makes weights as in BertModel, with the old names of LayerNorm's parameters."""
    weights = {}
    for name, value in bert().items():
        old = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        if name.startswith("bert."):
            weights[old.removeprefix("bert.").replace("LayerNorm.bias", "LayerNorm.beta")] = value
    return weights


def file_of(path: Path, weights: Weights, wrapped: bool = False) -> Path:
    tensors: Any = {
        name: torch_writer.tensor(np.array(value, order="C")) for name, value in weights.items()
    }
    path.write_bytes(torch_writer.zipped({"model": tensors, "extra": [1]} if wrapped else tensors))
    return path


def converted(tmp_path: Path, weights: Weights, vocab: Path, **options: Any) -> Any:
    """Converts weights in a file to an export, and loads it."""
    file = file_of(tmp_path / "published.pt", weights, "mmmodel" in next(iter(weights)))
    if "text_module.word_embd.weight" not in weights:  # as S3D has no tokenizer
        options["vocab"] = vocab
    convert.convert(file, tmp_path / "export", Options(**options))
    return export.load_any(tmp_path / "export")


def error_of(tmp_path: Path, source: Path, options: Options, out: str = "export") -> str:
    """Returns the error of a conversion that must fail, and checks that nothing is written."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as error:
        convert.convert(source, tmp_path / out, options)
    assert sorted(tmp_path.rglob("*")) == before
    assert "\n" not in str(error.value)
    return str(error.value)


def huggingface(folder: Path, weights: Weights, **config: Any) -> Path:
    folder.mkdir()
    save_file(weights, folder / "model.safetensors")
    card = {"model_type": "bert", "num_attention_heads": 8, "hidden_act": "gelu"} | config
    (folder / "config.json").write_text(json.dumps(card))
    (folder / "vocab.txt").write_text("\n".join(PIECES))
    return folder
