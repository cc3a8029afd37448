"""Loads tokenizers from their files."""

import os

from etils import epath

from vtmask.errors import UserError, reason
from vtmask.tokenizers.sentence_piece import SentencePiece
from vtmask.tokenizers.tokenizer import Tokenizer
from vtmask.tokenizers.word_piece import JsonWordPiece, WordPiece

_KINDS: dict[str, type[Tokenizer]] = {
    ".model": SentencePiece,
    ".txt": WordPiece,
    ".json": JsonWordPiece,
}


def load(path: str | os.PathLike[str]) -> Tokenizer:
    """Reads a tokenizer by its suffix: SentencePiece (.model), or WordPiece (.txt, .json).

    A vocab.txt is read as an uncased BERT's; `read_published` also considers the files beside it.

    Args:
      path: the file, or the folder of a data set or an exported model that contains one.

    Raises:
      UserError: the file is missing, damaged or something else.
    """
    file = epath.Path(path)
    if file.is_dir():
        file = _only_file(file)
    if file.suffix not in _KINDS:
        raise UserError(
            f"{file}: expected a SentencePiece model (.model), a WordPiece vocabulary (.txt) or a "
            "tokenizer.json"
        )
    try:
        return _KINDS[file.suffix](file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{file}: no such tokenizer file") from None
    except OSError as error:
        raise UserError(f"{file}: tokenizer can't be read ({reason(error)})") from None
    except ValueError as error:
        raise UserError(f"{file}: {error}") from None


def _only_file(folder: epath.Path) -> epath.Path:
    names = [kind.file_name for kind in _KINDS.values()]
    files = [folder / name for name in names if (folder / name).exists()]
    if len(files) != 1:
        raise UserError(
            f"{folder}: this folder has {len(files)} of {', '.join(names[:-1])} and {names[-1]}, "
            "expected one; name the tokenizer's file"
        )
    return files[0]
