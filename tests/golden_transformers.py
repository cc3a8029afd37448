"""Makes tests/golden/bert.npz and cased.json: `python tests/golden_transformers.py`.

transformers 5.24 with PyTorch 2.13 made the present files. The BERT's weights follow the rule of
`golden_weights.weight`, so its file contains none.
"""

import json
import re
import tempfile
from pathlib import Path

import numpy as np
import torch
from golden_weights import weight
from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

TAG = "golden-a/bert"
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 29,
    "max_position_embeddings": 20,
    "type_vocab_size": 2,
}
PIECES = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] The the ##s café cafe ##É Élan elan ##lan NASA ein Ü ##ber uber"
    " über fry FRY an egg Egg . , ! 日 本 日本 ##本 i İ ##stanbul istanbul S ß ss strasse Straße"
)
TEXTS = (
    *("The egg.", "the EGG", "Fry an Egg, fry!", "NASA nasa", "Café cafés", "Über Straße"),
    *("ÉLAN élan Elan", "日本", "an 日本 egg", "İstanbul", "the\u200b\u0000egg", "[MASK] [mask]"),
    *("cafe\u0301 the", "x" * 101, "STRASSE strasse", ""),
)
SETTINGS = (
    {"do_lower_case": True},
    {"do_lower_case": False},
    {"do_lower_case": True, "strip_accents": False},
    {"do_lower_case": False, "strip_accents": True},
    {"do_lower_case": False, "tokenize_chinese_chars": False},
)


def bert() -> dict[str, np.ndarray]:
    """Makes inputs and the outputs of BertForMaskedLM."""
    model = BertForMaskedLM(BertConfig(**SIZES, attn_implementation="eager")).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(weight(TAG, name, tuple(parameter.shape))))
        random = np.random.default_rng(0)
        ids = random.integers(5, SIZES["vocab_size"], (3, 12))
        segments = (np.arange(12) >= np.array([[5], [9], [4]])).astype(np.int64)
        mask = (np.arange(12) < np.array([[12], [10], [7]])).astype(np.int64)
        inputs = {"input_ids": ids, "token_type_ids": segments, "attention_mask": mask}
        tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
        outputs = model(**tensors, output_hidden_states=True)
    return {
        "meta": np.array(json.dumps({"tag": TAG, "bert": SIZES})),
        **inputs,
        "hidden_states": torch.stack(outputs.hidden_states).numpy(),
        "logits": outputs.logits.numpy(),
    }


def cased() -> dict[str, object]:
    """Tokenizes texts with several settings."""
    pieces = PIECES.split()
    cases = []
    for settings in SETTINGS:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
            (Path(folder) / "tokenizer_config.json").write_text(
                json.dumps({"tokenizer_class": "BertTokenizer", **settings})
            )
            tokenizer = BertTokenizerFast.from_pretrained(folder)
        normalizer = json.loads(tokenizer.backend_tokenizer.to_str())["normalizer"]
        assert normalizer["lowercase"] == settings["do_lower_case"], normalizer
        ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
        cases.append({"settings": settings, "ids": ids})
    return {"pieces": pieces, "texts": TEXTS, "cases": cases}


def main() -> None:
    folder = Path(__file__).parent / "golden"
    np.savez_compressed(folder / "bert.npz", **bert())  # type: ignore[arg-type]
    text = json.dumps(cased(), ensure_ascii=True, indent=None)
    (folder / "cased.json").write_text(re.sub(r'(\{"settings)', r"\n\1", text) + "\n")


if __name__ == "__main__":
    main()
