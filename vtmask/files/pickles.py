"""Reads a pickle as data: Python's unpickler, unable to import, call or create objects.

It is the unpickler written in Python, with a dict as its memo; the one in C would allocate memory
up to the highest index that a file names. The handful of names that plain data and NumPy arrays
need resolve to the functions below. The reader of another format may add names; all others are
refused.
"""

import io
import math
import mmap
import pickle
import re
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vtmask.errors import UserError
from vtmask.files.text import read_bytes

_SCALARS = {str, bytes, int, float, bool, type(None)}
_CONTAINERS = {dict, list, tuple, set, frozenset}
_EXPECTED = "expected plain data and arrays alone; nothing was executed"
_PLAIN_DTYPE = re.compile(r"b1|[iu][1248]|f(2|4|8|16)|c(8|16|32)|[SU][1-9]\d{0,8}")
DAMAGES = (
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
)
_Base: Any = pickle._Unpickler  # the type stubs lack its operations

OBJECT = object()
"""Stands for a class whose objects are read as dicts of their attributes."""


class BadPickle(Exception):
    """Why a pickle cannot be read, in a few words."""


def read_pickle(path: str | Path) -> Any:
    """Reads the value of a pickle file, as `load` does; nothing in the file is executed."""
    try:
        return load(read_bytes(path))
    except BadPickle as error:
        raise UserError(f"{path}: {error}") from error


def load(data: bytes) -> Any:
    """Reads the pickle in `data`, of protocol 0 to 5.

    Nothing is executed, and the memory used is at most a small multiple of the size of `data`.

    Returns:
      None, bool, int, float, str, bytes, and NumPy arrays (read-only), scalars and dtypes of
      numbers and strings, in dicts, lists, tuples, sets and frozensets. Python 2 strings are
      decoded as Latin-1. A bytearray becomes bytes.

    Raises:
      BadPickle: the data are damaged or hold anything else, which the message names.
    """
    return read(io.BytesIO(data))


def read(
    file: io.BytesIO | mmap.mmap,
    names: Mapping[tuple[str, str], Any] | None = None,
    persistent_load: Callable[[Any], Any] | None = None,
) -> Any:
    """Reads the pickle that begins at the file's position, as `load` does, and moves past it.

    Args:
      names: further (module, name) → a function to call, OBJECT or a value. A function must cope
        with any arguments, return plain data, and itself limit the size of arrays that are views.
        Attributes of an object that it returns as a dict are dropped.
      persistent_load: maps a persistent id, which may be anything, to its value. Without it,
        persistent ids are refused.
    """
    try:
        value = _Unpickler(file, names or {}, persistent_load).load()
        _check_plain(value)
        return value
    except BadPickle as error:
        raise BadPickle(f"byte {file.tell()}: {error}") from error
    except EOFError as error:
        raise BadPickle(f"byte {file.tell()}: the pickle is cut off") from error
    except DAMAGES as error:
        raise BadPickle(f"byte {file.tell()}: the pickle is damaged") from error


@dataclass(eq=False)
class _Unfinished:
    """A NumPy array or dtype whose state has not been read yet.

    Attributes:
      finish: makes the value from the state.
      memo_keys: where the memo holds it; the finished value replaces it there.
    """

    finish: Callable[..., Any]
    memo_keys: list[int] = field(default_factory=list)


class _Memo(dict):
    def __setitem__(self, key: int, value: Any) -> None:
        super().__setitem__(key, value)
        if type(value) is _Unfinished:
            value.memo_keys.append(key)


def _checked(load: Callable[[Any], None], keys: slice) -> Callable[[Any], None]:
    """Wraps an operation to check first the `keys` above the stack's mark that it will hash."""

    def checked(unpickler: Any) -> None:
        check_keys(unpickler.stack[keys])
        load(unpickler)

    return checked


class _Unpickler(_Base):
    """Unpickles plain data; operations that are not replaced here handle plain data only.

    Attributes:
      made: bytes and items that calls have made. Only a hostile file makes more than has been read
        of it so far; an array may count twice, since its bytes count too.
      objects: the dicts that stand for objects, by `id()`.
    """

    def __init__(
        self,
        file: io.BytesIO | mmap.mmap,
        names: Mapping[tuple[str, str], Any],
        persistent_load: Callable[[Any], Any] | None,
    ):
        super().__init__(file, encoding="latin1")
        self.memo = _Memo()
        self.names = {**names, **_NAMES}
        self.load_id = persistent_load
        self.tell, self.start = file.tell, file.tell()
        self.made = 0
        self.objects: dict[int, dict] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.names:
            raise BadPickle(f"holds {f'{module}.{name}'[:80]!r}, {_EXPECTED}")
        return self.names[module, name]

    def persistent_load(self, pid: Any) -> Any:
        if self.load_id is None:
            raise BadPickle(f"holds a persistent id, {_EXPECTED}")
        return self.load_id(pid)

    def get_extension(self, code: int) -> Any:
        raise BadPickle(f"holds an extension, {_EXPECTED}")

    def load_object(self) -> None:
        raise BadPickle(f"holds an object, {_EXPECTED}")

    load_inst = load_obj = load_newobj_ex = load_object

    def load_frame(self) -> None:
        self.read(8)  # its length; Python would read the frame ahead, however long it claims to be

    load_bytearray8 = _Base.load_binbytes8  # the original allocates memory before it reads
    load_setitem = _checked(_Base.load_setitem, slice(-2, -1))
    load_setitems = _checked(_Base.load_setitems, slice(None, None, 2))
    load_dict = _checked(_Base.load_dict, slice(None, None, 2))
    load_additems = _checked(_Base.load_additems, slice(None))
    load_frozenset = _checked(_Base.load_frozenset, slice(None))

    def load_reduce(self) -> None:
        super().load_reduce()
        self.count(self.stack[-1])

    def load_newobj(self) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        if kind is not OBJECT or arguments:
            self.load_object()
        made: dict = {}
        self.objects[id(made)] = made
        self.stack.append(made)

    def load_build(self) -> None:
        state, value = self.stack.pop(), self.stack[-1]
        if id(value) in self.objects:
            self.count(_of(dict, state))
            value.update(state)
        elif type(value) is _Unfinished:
            self.stack[-1] = finished = value.finish(*state)
            self.count(finished)
            for key in value.memo_keys:
                self.memo[key] = finished
        elif type(value) is not dict:
            self.load_object()

    def count(self, made: Any) -> None:
        if isinstance(made, (bytes, dict, set, frozenset)):
            self.made += len(made)
        elif isinstance(made, np.generic) or type(getattr(made, "base", None)) is bytes:
            self.made += made.nbytes  # other arrays are views of memory that the caller holds
        if self.made > 2 * (self.tell() - self.start):
            raise BadPickle("makes more data than the file holds")


_Unpickler.dispatch = {
    code: getattr(_Unpickler, load.__name__) for code, load in _Base.dispatch.items()
}


def check_keys(keys: Any) -> Any:
    """Returns keys that are scalars or flat tuples; deeper ones could overflow the stack or hang.

    Raises:
      BadPickle: a key is anything else.
    """
    for key in keys:
        for part in key if type(key) is tuple else (key,):
            if type(part) not in _SCALARS and not isinstance(part, np.generic):
                raise BadPickle(f"holds a {type(part).__name__} in a key")
    return keys


def _check_plain(value: Any) -> None:
    """Refuses a value that contains a bare name or an unfinished array."""
    seen: set[int] = set()
    todo = [value]
    while todo:
        value = todo.pop()
        if type(value) in _SCALARS or isinstance(value, (np.ndarray, np.generic, np.dtype)):
            continue
        if type(value) not in _CONTAINERS:
            raise BadPickle("holds a name or an unfinished array as a value")
        if id(value) not in seen:
            seen.add(id(value))
            todo.extend(value)
            if type(value) is dict:
                todo.extend(value.values())


# The functions that names resolve to. Their arguments may be anything.


def _of(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value


def _encode(text: Any, encoding: Any) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise ValueError
    return _of(str, text).encode("latin1")


def _reconstruct(kind: Any, *_: Any) -> _Unfinished:
    if kind is not _NDARRAY:
        raise BadPickle(f"holds an array of a class of its own, {_EXPECTED}")

    def finish(*state: Any) -> np.ndarray:
        shape, dtype, fortran, raw = state[-4:]
        return _array(raw, dtype, shape, "F" if fortran else "C")

    return _Unfinished(finish)


def _dtype(kind: Any, *_: Any) -> _Unfinished:
    if not _PLAIN_DTYPE.fullmatch(_of(str, kind)):
        raise BadPickle(f"holds NumPy values of dtype {kind[:80]!r}, expected numbers or strings")

    def finish(*state: Any) -> np.dtype:
        _, order, *parts = state[:5]
        if order not in ("<", ">", "=", "|") or parts != [None] * 3:
            raise ValueError
        return np.dtype(order + kind)

    return _Unfinished(finish)


def _array(raw: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
    raw = raw.encode("latin1") if type(raw) is str else _of(bytes, raw)  # Python 2 has only str
    if not isinstance(dtype, np.dtype) or order not in ("C", "F"):
        raise TypeError
    if len(_of(tuple, shape)) > 64 or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError
    if max(shape, default=0) > sys.maxsize or math.prod(shape) * dtype.itemsize != len(raw):
        raise BadPickle(f"an array's shape does not fit its {len(raw)} bytes of data")
    if dtype.kind == "U" and (np.frombuffer(raw, f"{dtype.byteorder}u4") > sys.maxunicode).any():
        raise BadPickle("an array of strings has characters that do not exist")
    return np.ndarray(shape, dtype, raw, order=order)


def _scalar(dtype: Any, raw: Any) -> Any:
    return _array(raw, dtype, ())[()]


_NDARRAY = object()
_NAMES: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): _NDARRAY,
}
for _builtins in ("builtins", "__builtin__"):  # of Python 3 and 2
    _NAMES[_builtins, "set"] = lambda items=(): set(check_keys(items))
    _NAMES[_builtins, "frozenset"] = lambda items=(): frozenset(check_keys(items))
    _NAMES[_builtins, "bytes"] = lambda: b""
for _core in ("numpy.core", "numpy._core"):  # of NumPy 1 and 2
    _NAMES[f"{_core}.multiarray", "_reconstruct"] = _reconstruct
    _NAMES[f"{_core}.multiarray", "scalar"] = _scalar
    _NAMES[f"{_core}.numeric", "_frombuffer"] = _array
