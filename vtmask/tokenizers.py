"""Text to token ids: SentencePiece models, trained or loaded.

Ids 0 to 4 are the control symbols of BERT, in this order: [PAD], [UNK], [CLS], [SEP], [MASK].
"""

import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import sentencepiece

from vtmask.errors import UserError

PAD, UNK, CLS, SEP, MASK = range(5)


class Tokenizer:
    """A SentencePiece model and the ids of its control symbols.

    Attributes:
      vocab_size: number of ids, control symbols included.
      sha256: hash of the model's bytes; it travels with data and checkpoints.
    """

    def __init__(self, model: bytes):
        self.model = model
        self.sha256 = hashlib.sha256(model).hexdigest()
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.vocab_size: int = self._processor.vocab_size()

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Reads a SentencePiece model file; UserError where it is missing, damaged or not ours."""
        try:
            tokenizer = cls(Path(path).read_bytes())
        except FileNotFoundError:
            raise UserError(f"{path}: no such tokenizer file") from None
        except RuntimeError:
            tokenizer = None
        if tokenizer is None or not tokenizer.vocab_size:
            raise UserError(f"{path}: not a SentencePiece model, or a damaged one")
        pieces = [tokenizer._processor.id_to_piece(i) for i in range(min(5, tokenizer.vocab_size))]
        if pieces != CONTROL_PIECES:
            raise UserError(
                f"{path}: ids 0 to 4 are {pieces}, expected {CONTROL_PIECES}; "
                "train the model with vtmask.tokenizers.train"
            )
        return tokenizer

    def save(self, path: str | Path) -> None:
        Path(path).write_bytes(self.model)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without [CLS] or [SEP]."""
        return self._processor.encode(list(texts), out_type=int)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids; control symbols are left out."""
        return self._processor.decode([int(i) for i in ids if i > MASK])


CONTROL_PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def train(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Trains a unigram SentencePiece model on the texts, the same bytes for the same input.

    Args:
      texts: sentences, one a text.
      vocab_size: upper limit of the number of ids, control symbols included; a small corpus may
        support fewer.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="unigram",
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        num_threads=1,
        pad_id=PAD,
        unk_id=UNK,
        bos_id=CLS,
        eos_id=SEP,
        pad_piece=CONTROL_PIECES[PAD],
        unk_piece=CONTROL_PIECES[UNK],
        bos_piece=CONTROL_PIECES[CLS],
        eos_piece=CONTROL_PIECES[SEP],
        control_symbols=CONTROL_PIECES[MASK],
        minloglevel=2,
    )
    return Tokenizer(model.getvalue())
