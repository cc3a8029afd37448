"""Tokenizers from their files."""

from pathlib import Path

from vtmask.errors import UserError, reason
from vtmask.tokenizers.sentence_piece import SentencePiece
from vtmask.tokenizers.tokenizer import Tokenizer
from vtmask.tokenizers.word_piece import JsonWordPiece, WordPiece

_KINDS: dict[str, type[Tokenizer]] = {
    ".model": SentencePiece,
    ".txt": WordPiece,
    ".json": JsonWordPiece,
}


def load(path: str | Path) -> Tokenizer:
    """Reads a tokenizer by its suffix: SentencePiece (.model), or WordPiece (.txt, .json).

    A vocab.txt is read as that of an uncased BERT; `read_published` looks at what lies beside it.

    Args:
      path: the file, or the folder of a data set or an exported model with one in it.

    Raises:
      UserError: the file is missing, damaged or something else.
    """
    path = Path(path)
    if path.is_dir():
        path = _only_file(path)
    if path.suffix not in _KINDS:
        raise UserError(
            f"{path}: expected a SentencePiece model (.model), a WordPiece vocabulary (.txt) or a "
            "tokenizer.json"
        )
    try:
        return _KINDS[path.suffix](path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: no such tokenizer file") from None
    except OSError as error:
        raise UserError(f"{path}: tokenizer can't be read ({reason(error)})") from None
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def _only_file(folder: Path) -> Path:
    names = [kind.file_name for kind in _KINDS.values()]
    files = [folder / name for name in names if (folder / name).exists()]
    if len(files) != 1:
        raise UserError(
            f"{folder}: this folder has {len(files)} of {', '.join(names[:-1])} and {names[-1]}, "
            "expected one; name the tokenizer's file"
        )
    return files[0]
