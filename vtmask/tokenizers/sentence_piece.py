"""SentencePiece models with BERT's control symbols."""

import io
from collections.abc import Iterable

import sentencepiece

from vtmask.errors import UserError
from vtmask.tokenizers.tokenizer import CONTROL_SYMBOLS, Tokenizer


class SentencePiece(Tokenizer):
    """A SentencePiece model whose ids 0 to 4 are [PAD], [UNK], [CLS], [SEP], [MASK].

    No text becomes a control symbol other than [UNK].
    """

    file_name = "tokenizer.model"
    pad_id, unk_id, cls_id, sep_id, mask_id = range(5)

    def __init__(self, content: bytes):
        """Loads a model file's bytes; raises ValueError if they are not such a model."""
        super().__init__(content)
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=content)
            self.vocab_size = self._processor.vocab_size()
        except RuntimeError:
            self.vocab_size = 0
        if not self.vocab_size:
            raise ValueError("not a SentencePiece model, or a damaged one")
        pieces = [self._processor.id_to_piece(i) for i in range(min(5, self.vocab_size))]
        if pieces != list(CONTROL_SYMBOLS):
            raise ValueError(
                f"ids 0 to 4 are {pieces}, expected {list(CONTROL_SYMBOLS)}; "
                "train the model with vtmask.tokenizers.train"
            )

    def decode(self, ids: Iterable[int]) -> str:
        return self._processor.decode([int(i) for i in ids if i > self.mask_id])

    def _encode(self, text: str) -> list[int]:
        return self._processor.encode(text, out_type=int)


def train(texts: Iterable[str], vocab_size: int) -> SentencePiece:
    """Trains a unigram SentencePiece model; the same input gives the same bytes.

    Args:
      texts: one sentence each.
      vocab_size: upper limit of the number of ids, control symbols included; a small corpus may
        support fewer.

    Raises:
      UserError: there is no text, or the limit is too small for its characters.
    """
    pad, unk, cls, sep, mask = CONTROL_SYMBOLS
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="unigram",
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            num_threads=1,
            pad_id=SentencePiece.pad_id,
            unk_id=SentencePiece.unk_id,
            bos_id=SentencePiece.cls_id,
            eos_id=SentencePiece.sep_id,
            pad_piece=pad,
            unk_piece=unk,
            bos_piece=cls,
            eos_piece=sep,
            control_symbols=mask,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise UserError(
            f"a tokenizer of {vocab_size} ids can't be trained: there is no text, or it has more "
            "characters than that; pass a trained one, or change vocab_size"
        ) from error
    return SentencePiece(model.getvalue())
