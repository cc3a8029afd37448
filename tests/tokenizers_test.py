"""Tokenizers are deterministic, have BERT's control symbols, and refuse foreign files."""

from pathlib import Path

import pytest

from vtmask import tokenizers
from vtmask.errors import UserError

LINES = ["slide the red ball to the right", "now spin the blue box", "then lift a green star"] * 9


def test_training_is_deterministic_and_round_trips(tmp_path: Path) -> None:
    one, other = (tokenizers.train(LINES, 60) for _ in range(2))
    assert one.model == other.model
    one.save(tmp_path / "t.model")
    loaded = tokenizers.Tokenizer.load(tmp_path / "t.model")
    assert loaded.sha256 == one.sha256
    [ids] = loaded.encode(["spin the red star"])
    assert min(ids) > tokenizers.MASK and max(ids) < loaded.vocab_size
    text = [tokenizers.CLS, *ids, tokenizers.SEP, tokenizers.PAD]
    assert loaded.decode(text) == "spin the red star"


def test_what_the_corpus_lacks_is_unknown() -> None:
    assert tokenizers.UNK in tokenizers.train(LINES, 60).encode(["日本"])[0]


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.model"
    path.write_bytes(content)
    with pytest.raises(UserError, match="t.model: not a SentencePiece model"):
        tokenizers.Tokenizer.load(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such tokenizer file"):
        tokenizers.Tokenizer.load(tmp_path / "t.model")
