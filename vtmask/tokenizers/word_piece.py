"""BERT's WordPiece tokenizers (Devlin et al., 2019)."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

import tokenizers

from vtmask.tokenizers.tokenizer import CONTROL_SYMBOLS, Tokenizer

# Marks before which decoded text has no space, as in transformers' `clean_up_tokenization`.
_CLOSED_UP = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
_MODEL = {
    "type": "WordPiece",
    "unk_token": "[UNK]",
    "continuing_subword_prefix": "##",
    "max_input_chars_per_word": 100,
}
_PRE_TOKENIZER = {"type": "BertPreTokenizer"}


@dataclasses.dataclass(frozen=True)
class Normalization:
    """The normalisation of text before it is split into words; the defaults are uncased BERT's.

    Attributes:
      lowercase: letters become lower-case.
      strip_accents: accents are dropped.
      handle_chinese_chars: every CJK character is a word.
      clean_text: control characters are dropped, and all white space becomes spaces.
    """

    lowercase: bool = True
    strip_accents: bool = True
    handle_chinese_chars: bool = True
    clean_text: bool = True


UNCASED = Normalization()


class WordPiece(Tokenizer):
    """BERT's uncased tokenizer with the pieces of a vocab.txt, one per line.

    It equals `BertTokenizerFast` of transformers 3.4, which tokenised the published captions: text
    is lower-cased, control characters and accents are dropped, each CJK character is a word, and
    words of over 100 characters are [UNK]. As there, a control symbol spelt out in a text, such as
    "[MASK]", becomes that symbol's id. (The slow `BertTokenizer` also drops unassigned code points,
    including those newer than its Python.)

    Attributes:
      ids: piece → id.
      normalization: how text is normalised.
    """

    file_name = "vocab.txt"

    def __init__(self, content: bytes):
        """Loads a file's bytes; raises ValueError, naming the place, if they are no vocabulary."""
        super().__init__(content)
        self.ids, self.normalization = self._read(content)
        self._pieces = list(self.ids)
        self.vocab_size = len(self.ids)
        self._control_ids = [self.ids[symbol] for symbol in CONTROL_SYMBOLS]
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = self._control_ids
        self._tokenizer = tokenizers.Tokenizer(
            tokenizers.models.WordPiece(self.ids, unk_token="[UNK]", max_input_chars_per_word=100)
        )
        self._tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(
            **dataclasses.asdict(self.normalization)
        )
        self._tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        self._tokenizer.add_special_tokens(list(CONTROL_SYMBOLS))

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of the ids, spaced as published; control symbols are left out."""
        text = " ".join(self._pieces[i] for i in ids if i not in self._control_ids)
        text = text.replace(" ##", "")
        for mark in _CLOSED_UP:
            text = text.replace(mark, mark.strip())
        return text

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    @staticmethod
    def _read(content: bytes) -> tuple[dict[str, int], Normalization]:
        return _read_vocabulary(content), UNCASED


class JsonWordPiece(WordPiece):
    """A WordPiece tokenizer with any normalisation, from a tokenizer.json of `tokenizers`."""

    file_name = "tokenizer.json"

    @staticmethod
    def _read(content: bytes) -> tuple[dict[str, int], Normalization]:
        return _read_json(content)


def word_piece(ids: Mapping[str, int], normalization: Normalization) -> WordPiece:
    """Makes the tokenizer of the pieces, with reproducible bytes; a vocab.txt if it is uncased.

    Args:
      ids: piece → id: 0, 1, … in order.

    Raises:
      ValueError: a control symbol is missing.
    """
    if normalization == UNCASED:
        return WordPiece("".join(f"{piece}\n" for piece in ids).encode())
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                **{"id": i, "content": piece, "single_word": False, "lstrip": False},
                **{"rstrip": False, "normalized": False, "special": True},
            }
            for piece, i in ids.items()
            if piece in CONTROL_SYMBOLS
        ],
        "normalizer": {"type": "BertNormalizer", **dataclasses.asdict(normalization)},
        "pre_tokenizer": _PRE_TOKENIZER,
        "post_processor": None,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {**_MODEL, "vocab": ids},
    }
    return JsonWordPiece(json.dumps(content, ensure_ascii=False, indent=1).encode())


def _read_vocabulary(content: bytes) -> dict[str, int]:
    try:
        lines = content.decode().removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {number} is not UTF-8, expected BERT's vocab.txt") from None
    ids: dict[str, int] = {}
    for i, line in enumerate(lines):
        piece = line.removesuffix("\r")
        if not piece.strip():
            raise ValueError(
                f"line {i + 1} is empty, expected one piece of the vocabulary per line"
            )
        if piece in ids:
            raise ValueError(f"line {i + 1} is {piece!r} like line {ids[piece] + 1}; drop one")
        ids[piece] = i
    missing = [symbol for symbol in CONTROL_SYMBOLS if symbol not in ids]
    if missing:
        raise ValueError(f"none of its {len(ids)} lines is {missing[0]}, expected BERT's vocab.txt")
    return ids


def _read_json(content: bytes) -> tuple[dict[str, int], Normalization]:
    try:
        card = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("not JSON, or damaged; expected the tokenizer.json of a BERT") from None
    model, normalizer = _part(card, "model"), _part(card, "normalizer")
    for name, value in _MODEL.items():
        if model.get(name, value) != value:
            raise ValueError(f"model.{name} is {model[name]!r}, expected BERT's, {value!r}")
    if _part(card, "pre_tokenizer") != _PRE_TOKENIZER:
        raise ValueError(f"pre_tokenizer is {card['pre_tokenizer']!r:.60}, expected BERT's")
    if normalizer.get("type") != "BertNormalizer":
        raise ValueError(f"normalizer is {normalizer.get('type')!r}, expected BertNormalizer")
    ids = _part(model, "vocab")
    if sorted(map(repr, ids.values())) != sorted(map(repr, range(len(ids)))):
        raise ValueError(f"model.vocab's ids are not 0 to {len(ids) - 1}, each once")
    ids = dict(sorted(ids.items(), key=lambda item: item[1]))
    blank = [piece for piece in ids if not piece.strip() or "\n" in piece]
    if blank:
        raise ValueError(f"model.vocab has the piece {blank[0]!r}, expected BERT's vocabulary")
    missing = [symbol for symbol in CONTROL_SYMBOLS if symbol not in ids]
    if missing:
        raise ValueError(f"model.vocab has no {missing[0]}, expected BERT's vocabulary")
    for token in card.get("added_tokens") or ():
        piece = token.get("content") if isinstance(token, dict) else token
        if piece not in CONTROL_SYMBOLS or token.get("id") != ids.get(piece):
            raise ValueError(f"added token {piece!r} is no control symbol of its vocabulary")
    return ids, _normalization(normalizer)


def _normalization(normalizer: Mapping[str, Any]) -> Normalization:
    values: dict[str, bool] = {}
    for field in dataclasses.fields(Normalization):
        value = normalizer.get(field.name)
        if field.name == "strip_accents" and value is None:
            value = values["lowercase"]
        if not isinstance(value, bool):
            raise ValueError(f"normalizer.{field.name} is {value!r}, expected true or false")
        values[field.name] = value
    return Normalization(**values)


def _part(card: Any, name: str) -> dict[str, Any]:
    part = card.get(name) if isinstance(card, dict) else None
    if not isinstance(part, dict):
        raise ValueError(f"has no {name}, expected the tokenizer.json of a BERT")
    return part
