"""Text to token ids: SentencePiece models, trained or loaded, and BERT's WordPiece vocabularies."""

import hashlib
import io
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import sentencepiece
import tokenizers
from etils import epath

from vtmask.errors import UserError, reason

CONTROL_SYMBOLS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# What loses its spaces in decoded text, as in transformers' `clean_up_tokenization`.
_CLOSED_UP = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Tokenizer(ABC):
    """What text goes through. Pickled and hashed by the bytes of its file.

    Attributes:
      content: the file's bytes.
      sha256: their hash; it travels with data and checkpoints.
      file_name: what the file is called in the folder of a data set or a model.
      vocab_size: number of ids, control symbols included.
      pad_id, unk_id, cls_id, sep_id, mask_id: ids of BERT's control symbols.
    """

    file_name: ClassVar[str]
    vocab_size: int
    pad_id: int
    unk_id: int
    cls_id: int
    sep_id: int
    mask_id: int

    def __init__(self, content: bytes):
        self.content = content
        self.sha256 = hashlib.sha256(content).hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.content,)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes folder/file_name."""
        (epath.Path(folder) / self.file_name).write_bytes(self.content)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without [CLS] or [SEP] around them.

        Half of a surrogate pair, which no UTF-8 file can hold, counts as U+FFFD.
        """
        return [self._encode(_LONE_SURROGATE.sub("\ufffd", text)) for text in texts]

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids; control symbols are left out."""

    @abstractmethod
    def _encode(self, text: str) -> list[int]: ...


class SentencePiece(Tokenizer):
    """A SentencePiece model whose ids 0 to 4 are [PAD], [UNK], [CLS], [SEP], [MASK].

    No text becomes a control symbol other than [UNK].
    """

    file_name = "tokenizer.model"
    pad_id, unk_id, cls_id, sep_id, mask_id = range(5)

    def __init__(self, content: bytes):
        """ValueError where the bytes are no such model."""
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


class WordPiece(Tokenizer):
    """BERT's uncased tokenizer with the pieces of a vocab.txt, one a line.

    Equal to `BertTokenizerFast` of transformers 3.4, with which the published captions were
    tokenised: control characters dropped, lower case, accents stripped, a word a CJK character,
    words of over 100 characters [UNK]. As there, a control symbol spelt out in a text, "[MASK]",
    becomes that symbol's id. (`BertTokenizer`, the slow one, also drops code points without a
    character, those newer than its Python included.)
    """

    file_name = "vocab.txt"

    def __init__(self, content: bytes):
        """ValueError, naming the line, where the bytes are no such vocabulary."""
        super().__init__(content)
        ids = _read_vocabulary(content)
        self._pieces = list(ids)
        self.vocab_size = len(ids)
        self._control_ids = [ids[symbol] for symbol in CONTROL_SYMBOLS]
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = self._control_ids
        self._tokenizer = tokenizers.Tokenizer(
            tokenizers.models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100)
        )
        self._tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
        self._tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        self._tokenizer.add_special_tokens(list(CONTROL_SYMBOLS))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids, spaced as published; control symbols are left out."""
        text = " ".join(self._pieces[i] for i in ids if i not in self._control_ids)
        text = text.replace(" ##", "")
        for mark in _CLOSED_UP:
            text = text.replace(mark, mark.strip())
        return text

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids


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
            raise ValueError(f"line {i + 1} is empty, expected one piece of the vocabulary a line")
        if piece in ids:
            raise ValueError(f"line {i + 1} is {piece!r} like line {ids[piece] + 1}; drop one")
        ids[piece] = i
    missing = [symbol for symbol in CONTROL_SYMBOLS if symbol not in ids]
    if missing:
        raise ValueError(f"none of its {len(ids)} lines is {missing[0]}, expected BERT's vocab.txt")
    return ids


_KINDS: dict[str, type[Tokenizer]] = {".model": SentencePiece, ".txt": WordPiece}


def load(path: str | os.PathLike[str]) -> Tokenizer:
    """Reads a tokenizer, a SentencePiece model where the name ends in .model, WordPiece in .txt.

    A folder of a data set or an exported model stands for the tokenizer in it. UserError where the
    file is missing, damaged or something else.
    """
    file = epath.Path(path)
    if file.is_dir():
        file = _find(file)
    if file.suffix not in _KINDS:
        raise UserError(
            f"{file}: expected a SentencePiece model (.model) or a WordPiece vocabulary (.txt)"
        )
    try:
        return _KINDS[file.suffix](file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{file}: no such tokenizer file") from None
    except OSError as error:
        raise UserError(f"{file}: tokenizer can't be read ({reason(error)})") from None
    except ValueError as error:
        raise UserError(f"{file}: {error}") from None


def _find(folder: epath.Path) -> epath.Path:
    names = [kind.file_name for kind in _KINDS.values()]
    found = [folder / name for name in names if (folder / name).exists()]
    if len(found) != 1:
        raise UserError(
            f"{folder}: this folder has {len(found)} of {' and '.join(names)}, expected one; "
            "name the tokenizer's file"
        )
    return found[0]


def train(texts: Iterable[str], vocab_size: int) -> SentencePiece:
    """Trains a unigram SentencePiece model on the texts, the same bytes for the same input.

    Args:
      texts: sentences, one a text.
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
            "characters than that; give a trained one, or change vocab_size"
        ) from error
    return SentencePiece(model.getvalue())
