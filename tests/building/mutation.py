"""Damages files at random, to show that a reader ends in a value or in a UserError."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vtmask.errors import UserError


def refusals(valid: bytes, path: Path, read: Callable[[Path], Any], times: int = 300) -> int:
    """How many of `times` damaged copies of a file were refused; their messages are one line."""
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(times):
        data = bytearray(valid)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(len(data) + 1))
            match rng.integers(4):
                case 0:
                    del data[at:]
                case 1:
                    data[at : at + 1] = rng.bytes(1)
                case 2:
                    del data[at : at + int(rng.integers(1, 9))]
                case 3:
                    data[at:at] = valid[at // 2 : at // 2 + int(rng.integers(1, 9))]
        path.write_bytes(data)
        try:
            read(path)
        except UserError as error:
            refused += 1
            assert str(error).startswith(str(path))
            assert "\n" not in str(error)
    return refused
