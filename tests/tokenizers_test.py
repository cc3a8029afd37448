"""Tokenizers are deterministic, agree with BERT's published one, and refuse foreign files."""

import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import golden
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict

from vtmask import recipe, tokenizers
from vtmask.errors import UserError
from vtmask.tokenizers import CONTROL_SYMBOLS, SentencePiece, Tokenizer, WordPiece, sentence_piece

LINES = ["slide the red ball to the right", "now spin the blue box", "then lift a green star"] * 9
PUBLISHED = json.loads((golden.COMPACT / "wordpiece.json").read_text())
VOCABULARY = PUBLISHED["vocabulary"].replace(" ", "\n").encode() + b"\n"
TOKENIZERS = [tokenizers.train(LINES, 60), WordPiece(VOCABULARY)]
TEXTS = (
    st.text() | st.text(st.sampled_from("redάB 日\ud83d\ude00\u200d[MASK]'.,\n\0")) | st.text("x")
)

both = pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["SentencePiece", "WordPiece"])


def test_training_is_deterministic_and_round_trips(tmp_path: Path) -> None:
    one, other = (tokenizers.train(LINES, 60) for _ in range(2))
    assert one.content == other.content
    one.save(tmp_path)
    loaded = tokenizers.load(tmp_path / "tokenizer.model")
    assert loaded.sha256 == one.sha256
    [ids] = loaded.encode(["spin the red star"])
    assert min(ids) > loaded.mask_id and max(ids) < loaded.vocab_size
    text = [loaded.cls_id, *ids, loaded.sep_id, loaded.pad_id]
    assert loaded.decode(text) == "spin the red star"


def test_words_outside_the_corpus_are_unknown() -> None:
    tokenizer = tokenizers.train(LINES, 60)
    assert tokenizer.unk_id in tokenizer.encode(["日本"])[0]


def control_ids(tokenizer: Tokenizer) -> list[int]:
    names = ("pad_id", "unk_id", "cls_id", "sep_id", "mask_id")
    return [getattr(tokenizer, name) for name in names]


def agrees(content: bytes) -> None:
    tokenizer, ids = WordPiece(content), {p: i for i, p in enumerate(content.decode().split("\n"))}
    for text, pieces, decoded in PUBLISHED["cases"]:
        expected = [ids[piece] for piece in pieces.split()]
        assert tokenizer.encode([text]) == [expected], ascii(text)
        assert tokenizer.decode(expected) == decoded, ascii(text)


def test_word_pieces_equal_the_published_ones() -> None:
    """The published ones are by transformers 3.4.0 (tokenizers 0.9.2) for bert-base-uncased."""
    agrees(VOCABULARY)


def test_ids_of_the_published_vocabulary(reference_dir: Path) -> None:
    path = reference_dir / "bert-base-uncased-vocab.txt"
    agrees(path.read_bytes())
    bert = tokenizers.load(path)
    assert bert.vocab_size == 30522
    assert control_ids(bert) == [0, 100, 101, 102, 103]


def test_contractions_are_joined_as_published() -> None:
    pieces = [*CONTROL_SYMBOLS, "we", "'", "##re", "?", "add", "##s"]
    tokenizer = WordPiece("\n".join(pieces).encode())
    ids = [pieces.index(p) for p in ("we", "?", "'", "[SEP]", "##re", "add", "##s", "?")]
    assert tokenizer.decode(ids) == "we?'re adds?"


def test_windows_line_endings_do_not_change_ids() -> None:
    tokenizer = WordPiece(VOCABULARY.replace(b"\n", b"\r\n").rstrip())
    assert tokenizer.encode(["the dog."]) == WordPiece(VOCABULARY).encode(["the dog."])


@both
@given(texts=st.lists(TEXTS, max_size=3))
def test_any_text_can_be_encoded(tokenizer: Tokenizer, texts: list[str]) -> None:
    ids = tokenizer.encode(texts)
    assert len(ids) == len(texts) and tokenizer.encode(texts) == ids
    assert all(0 <= i < tokenizer.vocab_size for line in ids for i in line)
    assert [tokenizer.encode([text])[0] for text in texts] == ids
    assert pickle.loads(pickle.dumps(tokenizer)).encode(texts) == ids


@both
@given(data=st.data())
def test_control_symbols_are_not_decoded(tokenizer: Tokenizer, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1)))
    text = tokenizer.decode(ids)
    assert text == tokenizer.decode([i for i in ids if i not in control_ids(tokenizer)])
    assert not any(symbol in text for symbol in CONTROL_SYMBOLS)


@both
def test_a_tokenizer_is_found_in_its_folder(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"has 0 of tokenizer.model, vocab.txt and tokenizer.json, expected one"
    ):
        tokenizers.load(tmp_path)
    tokenizer.save(tmp_path)
    loaded = tokenizers.load(tmp_path)
    assert type(loaded) is type(tokenizer) and loaded.sha256 == tokenizer.sha256
    for other in TOKENIZERS:
        other.save(tmp_path)
    with pytest.raises(UserError, match="has 2 of tokenizer.model, vocab.txt and tokenizer.json"):
        tokenizers.load(tmp_path)


@both
def test_a_model_takes_its_control_ids_from_the_tokenizer(tokenizer: Tokenizer) -> None:
    dataset: Any = SimpleNamespace(tokenizer=tokenizer, feature_size=3)
    config = ConfigDict({"model": {"name": "vlm"}, "task": {"name": "pretrain"}})
    model_config = recipe.make_model(config, dataset).config
    assert model_config.vocab_size == tokenizer.vocab_size
    actual = [
        model_config.pad_id,
        tokenizer.unk_id,
        model_config.cls_id,
        model_config.sep_id,
        model_config.mask_id,
    ]
    assert actual == control_ids(tokenizer)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("t.model", b"", "not a SentencePiece model"),
        ("t.model", VOCABULARY, "not a SentencePiece model"),
        ("t.txt", b"", "line 1 is empty"),
        ("t.txt", TOKENIZERS[0].content, "line [0-9]+ is"),
        ("t.txt", b"[PAD]\nthe\n\nof\n", "line 3 is empty"),
        ("t.txt", b"[PAD]\nthe\nof\nthe\n", "line 4 is 'the' like line 2"),
        ("t.txt", b"[PAD]\nthe\ncaf\xe9\n", "line 3 is not UTF-8"),
        ("t.txt", VOCABULARY.replace(b"[SEP]\n", b""), r"none of its \d+ lines is \[SEP\]"),
        ("t.json", b"{}", "has no model, expected the tokenizer.json of a BERT"),
        ("t.bin", b"{}", "expected a SentencePiece model"),
    ],
)
def test_a_foreign_file_is_refused(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: {problem}"):
        tokenizers.load(path)


def test_a_model_with_other_control_symbols_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            sentence_piece, "CONTROL_SYMBOLS", ("<pad>", "<unk>", "<s>", "</s>", "<mask>")
        )
        foreign = tokenizers.train(LINES, 60)
    assert isinstance(foreign, SentencePiece)
    foreign.save(tmp_path)
    with pytest.raises(UserError, match=r"tokenizer.model: ids 0 to 4 are \['<pad>'"):
        tokenizers.load(tmp_path)


@pytest.mark.parametrize("name", ["t.model", "t.txt"])
def test_a_missing_file_is_reported(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="no such tokenizer file"):
        tokenizers.load(tmp_path / name)
