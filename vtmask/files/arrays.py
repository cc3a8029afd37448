"""NumPy's `.npy` files."""

import tokenize
from pathlib import Path

import numpy as np

from vtmask.errors import UserError, reason


def read_array(path: str | Path) -> np.ndarray:
    """Reads the array in a `.npy` file; pickled objects are refused."""
    # Mapping first rejects a file shorter than its header says before any memory is allocated.
    mapped = map_array(path)
    try:
        return np.array(mapped)
    except MemoryError as error:
        raise UserError(f"{path}: does not fit into memory: {reason(error)}") from error


def map_array(path: str | Path) -> np.ndarray:
    """Maps the array in a `.npy` file read-only; only the parts that are used are read."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error
    except (
        ArithmeticError,
        LookupError,
        MemoryError,
        RecursionError,
        SyntaxError,
        TypeError,
        ValueError,
        tokenize.TokenError,
    ) as error:
        raise UserError(
            f"{path}: is not a complete .npy file of numbers: {reason(error)}"
        ) from error
