"""Tokenizers of cased, uncased and multilingual BERTs, from any of Hugging Face's files."""

import json
import pickle
from pathlib import Path
from typing import Any

import golden
import pytest
import tokenizers as library

from vtmask import tokenizers
from vtmask.errors import UserError
from vtmask.tokenizers import CONTROL_SYMBOLS, JsonWordPiece, Normalization, WordPiece, word_piece

PUBLISHED = json.loads((golden.COMPACT / "cased.json").read_text())
PIECES: list[str] = PUBLISHED["pieces"]
SMALL = [piece for piece in PIECES if piece in CONTROL_SYMBOLS or piece == piece.lower()]
CASED = {piece: i for i, piece in enumerate(PIECES)}
UNCASED = {piece: i for i, piece in enumerate(SMALL)}


def normalization(settings: dict[str, bool]) -> Normalization:
    lowercase = settings["do_lower_case"]
    chinese = settings.get("tokenize_chinese_chars", True)
    return Normalization(lowercase, settings.get("strip_accents", lowercase), chinese)


def folder_of(path: Path, pieces: list[str] | None = None, **contents: Any) -> Path:
    """Makes a folder with a vocab.txt and JSON files."""
    path.mkdir(exist_ok=True)
    if pieces:
        (path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    for name, content in contents.items():
        (path / f"{name}.json").write_text(json.dumps(content))
    return path


def json_of(ids: dict[str, int], normalization: Normalization) -> dict[str, Any]:
    """Makes a tokenizer.json with the extra fields of published ones."""
    card = json.loads(word_piece(CASED, Normalization(lowercase=False)).content)
    card["truncation"] = {"max_length": 128}
    card["normalizer"] |= vars(normalization)
    card["model"]["vocab"] = ids
    for token in card["added_tokens"]:
        token["id"] = ids[token["content"]]
    return card


@pytest.mark.parametrize("case", PUBLISHED["cases"], ids=lambda case: str(case["settings"]))
def test_ids_equal_those_of_transformers(case: dict[str, Any]) -> None:
    tokenizer = word_piece(CASED, normalization(case["settings"]))
    assert tokenizer.encode(PUBLISHED["texts"]) == case["ids"]
    assert pickle.loads(pickle.dumps(tokenizer)).encode(PUBLISHED["texts"]) == case["ids"]


@pytest.mark.parametrize("case", PUBLISHED["cases"][1:], ids=lambda case: str(case["settings"]))
def test_other_tools_read_the_saved_file(case: dict[str, Any], tmp_path: Path) -> None:
    tokenizer = word_piece(CASED, normalization(case["settings"]))
    assert tokenizer.file_name == "tokenizer.json"
    tokenizer.save(tmp_path)
    theirs = library.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    encoded = theirs.encode_batch(PUBLISHED["texts"], add_special_tokens=False)
    assert [encoding.ids for encoding in encoded] == case["ids"]
    loaded = tokenizers.load(tmp_path)
    assert isinstance(loaded, JsonWordPiece) and loaded.sha256 == tokenizer.sha256
    assert loaded.normalization == tokenizer.normalization


def test_a_cased_bert_is_the_same_from_any_of_its_files(tmp_path: Path) -> None:
    settings = {"do_lower_case": False}
    expected = word_piece(CASED, normalization(settings))
    card = json_of(CASED, normalization(settings))
    for folder in (
        folder_of(tmp_path / "a", PIECES, tokenizer_config=settings),
        folder_of(tmp_path / "b", PIECES, tokenizer_config={}),
        folder_of(tmp_path / "c", tokenizer=card, config={"tokenizer_class": None}),
        folder_of(tmp_path / "d", PIECES, tokenizer=card, tokenizer_config=settings),
    ):
        assert tokenizers.read_published(folder).sha256 == expected.sha256, folder
    alone = folder_of(tmp_path / "e", PIECES)
    assert tokenizers.read_published(alone / "vocab.txt").sha256 == expected.sha256
    expected.save(folder_of(tmp_path / "export"))
    assert tokenizers.read_published(tmp_path / "export").sha256 == expected.sha256


def test_an_uncased_bert_keeps_its_vocabulary(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a", SMALL, config={})
    content = (folder / "vocab.txt").read_bytes()
    assert tokenizers.read_published(folder).content == content
    card = json_of(UNCASED, Normalization())
    from_json = tokenizers.read_published(folder_of(tmp_path / "b", tokenizer=card, config={}))
    assert type(from_json) is WordPiece and from_json.content == content


def test_settings_of_multilingual_and_accented_berts_are_read(tmp_path: Path) -> None:
    config = {"do_lower_case": True, "strip_accents": False, "tokenize_chinese_chars": False}
    tokenizer = tokenizers.read_published(folder_of(tmp_path / "a", SMALL, tokenizer_config=config))
    assert isinstance(tokenizer, WordPiece)
    assert tokenizer.normalization == Normalization(True, False, False)
    ids = [UNCASED[piece] for piece in ("café", "日本")]
    assert tokenizer.encode(["CAFÉ 日本"]) == [ids]


def test_the_published_vocabulary_is_uncased(reference_dir: Path) -> None:
    path = reference_dir / "bert-base-uncased-vocab.txt"
    assert tokenizers.read_published(path).content == path.read_bytes()


@pytest.mark.parametrize(
    ("pieces", "contents", "problem"),
    [
        (
            [*SMALL, *(f"w{i}" for i in range(90)), "NASA"],
            {"config": {}},
            r"vocab.txt: 1 of \d+ pieces have capitals, too few to know whether it is cased; put",
        ),
        (
            PIECES,
            {"tokenizer_config": {"do_lower_case": True}},
            r"vocab.txt: 10 of \d+ pieces have capitals, but the files next to it lower-case",
        ),
        (
            PIECES,
            {"tokenizer_config": {"do_lower_case": False, "strip_accents": 1}},
            "tokenizer_config.json: strip_accents is 1, expected true or false",
        ),
        (
            SMALL,
            {
                "tokenizer_config": {"do_lower_case": False},
                "tokenizer": json_of(UNCASED, Normalization()),
            },
            "do_lower_case is False, but lowercase in tokenizer.json is True; correct one of them",
        ),
        (
            SMALL[:-1],
            {"config": {}, "tokenizer": json_of(UNCASED, Normalization())},
            "vocab.txt: has other pieces than tokenizer.json beside it",
        ),
        (
            SMALL,
            {"tokenizer_config": {"added_tokens_decoder": {"99": {"content": "<video>"}}}},
            "tokenizer_config.json: adds '<video>' to the vocabulary",
        ),
    ],
)
def test_contradictory_files_are_refused(
    tmp_path: Path, pieces: list[str], contents: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        tokenizers.read_published(folder_of(tmp_path / "a", pieces, **contents))


@pytest.mark.parametrize(
    ("part", "change", "problem"),
    [
        ("model", {"type": "BPE"}, "model.type is 'BPE', expected BERT's, 'WordPiece'"),
        ("model", {"unk_token": "<unk>"}, "model.unk_token is '<unk>', expected BERT's"),
        ("model", {"vocab": {"a": 1, "b": 2}}, "ids are not 0 to 1, each once"),
        ("model", {"vocab": {"a": 0, "b": 0}}, "ids are not 0 to 1, each once"),
        ("model", {"vocab": {"a": 0, "[UNK]": 1}}, r"model.vocab has no \[PAD\]"),
        ("model", {"vocab": {"": 0}}, "model.vocab has the piece '', expected"),
        ("normalizer", {"type": "Lowercase"}, "normalizer is 'Lowercase', expected BertNorm"),
        ("normalizer", {"lowercase": "x"}, "normalizer.lowercase is 'x', expected true or false"),
        ("pre_tokenizer", {"type": "Whitespace"}, "pre_tokenizer is .*, expected BERT's"),
        ("added_tokens", [{"content": "<v>", "id": 5}], "added token '<v>' is no control symbol"),
        ("model", None, "has no model"),
        ("normalizer", None, "has no normalizer"),
    ],
)
def test_other_tokenizers_are_refused(tmp_path: Path, part: str, change: Any, problem: str) -> None:
    card = json_of(CASED, Normalization(lowercase=False))
    card[part] = card[part] | change if isinstance(change, dict) else change
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(card))
    with pytest.raises(UserError, match=f"tokenizer.json: .*{problem}"):
        tokenizers.read_published(path)
    path.write_text("{")
    with pytest.raises(UserError, match="tokenizer.json: not JSON, or damaged"):
        tokenizers.read_published(path)
