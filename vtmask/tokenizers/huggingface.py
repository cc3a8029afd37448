"""Reads tokenizers of published BERTs, and infers how they normalise text."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vtmask import files
from vtmask.errors import UserError
from vtmask.tokenizers.loading import load
from vtmask.tokenizers.tokenizer import CONTROL_SYMBOLS, Tokenizer
from vtmask.tokenizers.word_piece import JsonWordPiece, Normalization, WordPiece, word_piece

_SETTINGS = {  # of tokenizer_config.json
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
_CLASSES = ("BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer", "DistilBertTokenizerFast")
_ANY_CLASS = ("PreTrainedTokenizerFast", "TokenizersBackend")  # tokenizer.json defines these fully
_CASED = 0.1  # minimum share of the pieces with letters that have capitals in a cased vocabulary


def read_published(path: str | Path) -> Tokenizer:
    """Reads a published tokenizer; distinguishes cased from uncased BERTs.

    A vocab.txt alone doesn't say whether case matters. The tokenizer.json and tokenizer_config.json
    beside it do; without them, a vocabulary is cased if its pieces have capitals.

    Args:
      path: the tokenizer's file, or a folder: Hugging Face's, a data set's or an exported model's.

    Returns:
      The tokenizer. For the same BERT it has the same bytes, whichever file it is read from, except
      that the bytes of an uncased BERT's vocab.txt are kept as they are.

    Raises:
      UserError: a file is missing, damaged or something else; files contradict each other; the
        tokenizer does more than BERT's; or it is unclear whether case matters.
    """
    path = Path(path)
    if path.is_dir():
        if not any((path / name).exists() for name in ("config.json", "tokenizer_config.json")):
            return load(path)
        vocabulary = path / WordPiece.file_name
        beside = path / JsonWordPiece.file_name
        path = beside if beside.exists() and not vocabulary.exists() else vocabulary
    tokenizer = load(path)
    if not isinstance(tokenizer, WordPiece):
        return tokenizer
    normalization = _normalization(path, tokenizer)
    _require_pieces_to_fit(path, tokenizer, normalization)
    if isinstance(tokenizer, JsonWordPiece) or tokenizer.normalization != normalization:
        return word_piece(tokenizer.ids, normalization)
    return tokenizer


def _normalization(path: Path, tokenizer: WordPiece) -> Normalization:
    """Determines the tokenizer's normalisation from the files beside its own."""
    is_json = isinstance(tokenizer, JsonWordPiece)
    beside = path if is_json else path.with_name(JsonWordPiece.file_name)
    config_file = path.with_name("tokenizer_config.json")
    config = _read_config(config_file, tokenizer, has_json=beside.exists())
    stated = {
        name: value
        for field, name in _SETTINGS.items()
        if (value := _flag(config_file, config, field)) is not None
    }
    if not beside.exists():
        lowercase = stated.setdefault("lowercase", not _is_cased(path, tokenizer.ids))
        stated.setdefault("strip_accents", lowercase)
        return Normalization(**stated)
    from_json = load(beside)
    assert isinstance(from_json, JsonWordPiece)
    if from_json.ids != tokenizer.ids:
        raise UserError(f"{path}: has other pieces than {beside.name} beside it; remove one")
    for name, value in stated.items():
        if (other := getattr(from_json.normalization, name)) != value:
            field = next(field for field, ours in _SETTINGS.items() if ours == name)
            raise UserError(
                f"{config_file}: {field} is {value}, but {name} in {beside.name} is {other}; "
                "correct one of them"
            )
    return from_json.normalization


def _read_config(path: Path, tokenizer: WordPiece, has_json: bool) -> dict[str, Any]:
    """Reads tokenizer_config.json; a UserError if text goes through more than BERT's WordPiece."""
    classes = (*_CLASSES, *_ANY_CLASS) if has_json else _CLASSES
    added: list[tuple[Path, Any]] = []
    config: dict[str, Any] = {}
    for file in (path.with_name("config.json"), path):
        config = files.read_json(file) if file.exists() else {}
        if not isinstance(config, dict):
            raise UserError(f"{file}: holds {type(config).__name__}, expected an object")
        name = config.get("tokenizer_class") or classes[0]
        if name not in classes:
            raise UserError(f"{file}: tokenizer_class is {name!r}, expected BERT's, {classes[0]!r}")
    if config.get("do_basic_tokenize") is False:
        raise UserError(f"{path}: do_basic_tokenize is false, only true can be converted")
    decoder = config.get("added_tokens_decoder")
    if isinstance(decoder, dict):
        added += [(path, entry.get("content")) for entry in decoder.values() if entry]
    more = path.with_name("added_tokens.json")
    if more.exists():
        added += [(more, piece) for piece in files.read_json(more)]
    for file, piece in added:
        if piece not in CONTROL_SYMBOLS or piece not in tokenizer.ids:
            raise UserError(
                f"{file}: adds {piece!r} to the vocabulary, only {' '.join(CONTROL_SYMBOLS)} can be"
            )
    return config


def _flag(path: Path, config: dict[str, Any], field: str) -> bool | None:
    value = config.get(field)
    if value is not None and not isinstance(value, bool):
        raise UserError(f"{path}: {field} is {value!r}, expected true or false")
    return value


def _is_cased(path: Path, pieces: Iterable[str]) -> bool:
    with_capitals, with_letters = _capitals(pieces)
    if 0 < with_capitals < _CASED * with_letters:
        raise UserError(
            f"{path}: {with_capitals} of {with_letters} pieces have capitals, too few to know "
            'whether it is cased; put a tokenizer_config.json beside it: {"do_lower_case": true} '
            "or false"
        )
    return with_capitals > 0


def _require_pieces_to_fit(path: Path, tokenizer: WordPiece, normalization: Normalization) -> None:
    with_capitals, with_letters = _capitals(tokenizer.ids)
    if normalization.lowercase and with_capitals and with_capitals >= _CASED * with_letters:
        raise UserError(
            f"{path}: {with_capitals} of {with_letters} pieces have capitals, but the files next "
            "to it lower-case text; should do_lower_case be false in tokenizer_config.json?"
        )


def _capitals(pieces: Iterable[str]) -> tuple[int, int]:
    """Counts the pieces with capitals, and those with letters of either case; ignores [UNK] etc."""
    letters = [
        piece
        for piece in pieces
        if piece.lower() != piece.upper() and not (piece.startswith("[") and piece.endswith("]"))
    ]
    return sum(piece != piece.lower() for piece in letters), len(letters)
