"""The interface of all tokenizers."""

import hashlib
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from etils import epath

CONTROL_SYMBOLS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Tokenizer(ABC):
    """Maps text to token ids. It is pickled and hashed as the bytes of its file.

    Attributes:
      content: the file's bytes.
      sha256: their hash, which is stored with data and checkpoints.
      file_name: name of the file in the folder of a data set or a model.
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
        """Returns the token ids of each text, without [CLS] and [SEP].

        Half of a surrogate pair, which no UTF-8 file can hold, is read as U+FFFD.
        """
        return [self._encode(_LONE_SURROGATE.sub("\ufffd", text)) for text in texts]

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of the ids; control symbols are left out."""

    @abstractmethod
    def _encode(self, text: str) -> list[int]: ...
