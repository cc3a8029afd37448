"""Damages files at random, to test that a reader returns a value or raises a UserError."""

import datetime
import io
import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vtmask.errors import UserError

_START = 160  # bytes, with the header of a .npy file and the first bytes of other formats
_DEEP: Any = []
for _ in range(300):
    _DEEP = [_DEEP]
_PLAIN: list[Any] = [
    *(None, True, 0, -1, 2**31, 2**64, 10**400, -0.5, 1e300, -1e300, 1e-320),
    *(float("nan"), float("inf"), -float("inf")),
    *("", " ", "x", "7", "\0", "\ud800", "\u2028", "../x", "é" * 5000),
    *([], {}, [[]], [None], {"": 0}, _DEEP),
]
_PICKLED: list[Any] = [
    *(b"x", 1j, (1, 2), {1, 2}, frozenset("x"), datetime.date(2020, 1, 1)),
    *(np.float64("nan"), np.int64(3), np.str_("x"), np.float32, np.dtype("O")),
    *(np.ones(3), np.array(["x"]), np.array([None]), np.zeros((2, 0))),
]
_DTYPES = ("f2", "f4", "f8", ">f4", "i2", "i8", "u1", "?", "c8", "S8", "U2", "M8[s]", "O", "V4")
_WHOLE = [b"", b"\n", b"\x89PNG\r\n\x1a\n" + bytes(99), b"PK\x03\x04" + bytes(99), b"#EXTM3U\n/x\n"]
_WHOLE += [b"<!DOCTYPE html><title>404</title>", b"[" * 99999, b'{"a":' * 9999, b"1" * 9999, b"NaN"]


def refusals(valid: bytes, path: Path, read: Callable[[Path], Any], times: int = 300) -> int:
    """Counts how many of `times` damaged copies are refused; checks that messages are one line."""
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(times):
        path.write_bytes(damaged(rng, valid))
        try:
            read(path)
        except UserError as error:
            refused += 1
            assert str(error).startswith(str(path))
            assert "\n" not in str(error)
    return refused


def damaged(rng: np.random.Generator, valid: bytes) -> bytes:
    """Puts one to three faults into the bytes."""
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
    return bytes(data)


def mutate(
    rng: np.random.Generator, suffix: str, contents: Sequence[bytes], which: int
) -> tuple[str, bytes]:
    """Returns the content of one file with damage, and a description of the damage.

    Args:
      suffix: of the file's name, such as ".json"; gives its format.
      contents: contents of all files; any of them may replace this one's.
    """
    data = contents[which]
    kinds: dict[str, Callable[[], bytes]] = {
        "damaged": lambda: damaged(rng, data),
        "start damaged": lambda: damaged(rng, data[:_START]) + data[_START:],
        "replaced": lambda: _one(rng, [*_WHOLE, *contents]),
        "chunk repeated or zeroed": lambda: _chunk(rng, data),
    }
    if suffix in _VALUES:
        kinds["value changed"] = kinds["value changed again"] = lambda: _VALUES[suffix](rng, data)
    if _is_text(data):
        kinds["rewritten"] = lambda: _rewritten(rng, data)
        kinds["line changed"] = lambda: _line(rng, data)
    kind = _one(rng, list(kinds))
    return kind, kinds[kind]()


def _one(rng: np.random.Generator, choices: Sequence[Any]) -> Any:
    return choices[int(rng.integers(len(choices)))]


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data.decode()
    except UnicodeDecodeError:
        return False


def _chunk(rng: np.random.Generator, data: bytes) -> bytes:
    start, end = sorted(rng.integers(len(data) + 1, size=2).tolist())
    chunk = _one(rng, [data[start:end] * 2, bytes(end - start), data[start:end] * 200])
    return data[:start] + chunk + data[end:]


def _rewritten(rng: np.random.Generator, data: bytes) -> bytes:
    """Changes the encoding, line endings, separators or numbers everywhere."""
    text = data.decode()
    encoding = _one(rng, ["utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-7", "cp500"])
    old, new = _one(
        rng,
        [
            *(("\n", "\r\n"), ("\n", "\r"), ("\n", "\n\n"), ("\n", " "), ("\n", "\u2028")),
            *((",", ";"), (",", "\t"), ("\t", ","), (",", ", "), (",", "|"), (",", '","')),
            *(('"', "'"), ('"', "”"), (".", ","), (":", "."), ("-->", "->"), (" ", "\u00a0")),
            *(("1", "9" * 400), ("1", "-1"), ("1", "1e999"), ("1", "nan"), ("1", "¹"), ("1", "١")),
        ],
    )
    return _one(rng, [text.encode(encoding, "replace"), text.replace(old, new).encode()])


def _line(rng: np.random.Generator, data: bytes) -> bytes:
    """Repeats, moves or drops a line, or gives it a field too many, too few or of another kind."""
    lines = data.decode().splitlines(keepends=True) or [""]
    at = int(rng.integers(len(lines)))
    separator = _one(rng, [",", "\t", " "])
    fields = lines[at].rstrip("\n").split(separator)
    place = int(rng.integers(len(fields)))
    match rng.integers(5):
        case 0:
            lines.insert(at, lines[at])
        case 1:
            lines.append(lines.pop(at))
        case 2:
            del lines[at]
        case 3:
            fields.insert(place, fields[place])
            lines[at] = separator.join(fields) + "\n"
        case 4:
            value = _one(rng, ["", '"', "nan", "1e400", "-5", "0x1", "1_0", "\0", "x" * 200_000])
            fields[place] = value
            lines[at] = separator.join(fields) + "\n"
    return "".join(lines).encode()


def _json(rng: np.random.Generator, data: bytes) -> bytes:
    changed = retyped(rng, json.loads(data), _PLAIN)
    return json.dumps(changed, ensure_ascii=bool(rng.integers(2))).encode(errors="surrogatepass")


def _pickle(rng: np.random.Generator, data: bytes) -> bytes:
    changed = retyped(rng, pickle.loads(data), _PLAIN + _PICKLED)
    return pickle.dumps(changed, int(rng.integers(6)))


def _npy(rng: np.random.Generator, data: bytes) -> bytes:
    """Changes an array's type, shape or the numbers at one place."""
    values = np.load(io.BytesIO(data))
    match rng.integers(4):
        case 0:
            values = values.astype(_one(rng, _DTYPES))
        case 1:
            shapes = [(), (0, *values.shape[1:]), (-1, 1), (1, -1), (1, *values.shape), (-1,)]
            shape = _one(rng, shapes)
            values = np.resize(values, shape) if 0 in shape or not shape else values.reshape(shape)
        case 2:
            values = _one(rng, [values.T, values[::2], np.repeat(values, 3, axis=0), values[1:]])
        case 3:
            dtype = _one(rng, [values.dtype, np.dtype(f"{values.dtype.kind}8")])
            values = values.astype(dtype, order=_one(rng, ["C", "F"]))
            numbers = [np.nan, np.inf, -np.inf, 1e300, 65520.0, 70000.0]
            if dtype.kind != "f":
                numbers = [-1, -2, 2**62, -(2**62), 1, 0]
            with np.errstate(over="ignore"):
                number = np.array(_one(rng, numbers)).astype(dtype, casting="unsafe")
            values[np.unravel_index(rng.integers(values.size), values.shape)] = number
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


_VALUES: dict[str, Callable[[np.random.Generator, bytes], bytes]] = {
    ".json": _json,
    ".pkl": _pickle,
    ".npy": _npy,
}


def retyped(rng: np.random.Generator, value: Any, others: Sequence[Any]) -> Any:
    """Changes, repeats or drops one of the values inside a value."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        return json.dumps(retyped(rng, json.loads(value), _PLAIN))
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return _one(rng, others)
    changed = value.copy()
    keys = list(changed) if isinstance(changed, dict) else range(len(changed))
    key, other = _one(rng, keys), _one(rng, keys)
    action = rng.random()
    if action < 0.1:
        del changed[key]
    elif action < 0.2:
        changed[key] = changed[other]
    elif action < 0.3 and isinstance(changed, list):
        changed.append(changed[key])
    elif action < 0.3:
        changed[_one(rng, ["", "x", "\0", "../x", "\ud800", "é" * 300])] = changed.pop(key)
    else:
        changed[key] = retyped(rng, changed[key], others)
    return changed
