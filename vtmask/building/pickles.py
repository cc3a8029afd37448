"""Reads a pickle as data, with a stack machine that has no way to call, import or make objects.

It follows the opcodes of protocols 0 to 5 (documented in Python's `pickletools`). The standard
unpickler would run what a file tells it to; this one knows the handful of names with which plain
data and NumPy arrays are written and refuses all others.
"""

import codecs
import math
import pickle
import re
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

_SCALARS = {str, bytes, int, float, bool, type(None)}
_CONTAINERS = {dict, list, tuple, set, frozenset}
_EXPECTED = "expected plain data and NumPy arrays alone; nothing was executed"
_PLAIN_DTYPE = re.compile(r"b1|[iu][1248]|f(2|4|8|16)|c(8|16|32)|[SU][1-9]\d{0,8}")


class BadPickle(Exception):
    """Why a pickle cannot be read, in a few words."""


class _Global(NamedTuple):
    """A name that the pickle imports, kept as a name."""

    module: str
    name: str


class _Unfinished:
    """A NumPy array or dtype whose state is still to come, and where it is remembered until then.

    Attributes:
      finish: makes the value from the state.
    """

    def __init__(self, finish: Callable[[Any], Any]):
        self.finish = finish
        self.memo_keys: list[int] = []


def load(data: bytes) -> Any:
    """The value of the pickle in `data`.

    Returns:
      None, bool, int, float, str, bytes, NumPy arrays (read-only, no copies of `data`'s parts),
      scalars and dtypes of numbers and strings, in dicts, lists, tuples, sets and frozensets.
      Strings of Python 2 are read as Latin-1. bytearrays come as bytes.

    Raises:
      BadPickle: the data are damaged, or hold anything else; its name is told. Nothing runs, and
        no more memory is taken than a small multiple of the size of `data`.
    """
    machine = _Machine(data)
    try:
        return machine.run()
    except BadPickle as error:
        raise BadPickle(f"byte {machine.position}: {error}") from error
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise BadPickle(f"byte {machine.position}: the pickle is damaged") from error


class _Machine:
    def __init__(self, data: bytes):
        self.data = data
        self.position = 0
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []  # the stacks below each mark
        self.memo: dict[int, Any] = {}
        self.has_globals = False
        self.made = 0  # bytes and items that `_CALLS` have made

    def run(self) -> Any:
        data, size = self.data, len(self.data)
        while self.position < size:
            code = data[self.position]
            self.position += 1
            if code == pickle.STOP[0]:
                if self.has_globals:
                    _check_plain(self.stack[-1])
                return self.stack[-1]
            if code not in _OPCODES:
                raise BadPickle(_REFUSED.get(code, f"unknown opcode {code}"))
            _OPCODES[code](self)
        raise BadPickle("the pickle is cut off")

    # Reading

    def take(self, size: int) -> bytes:
        start, end = self.position, self.position + size
        if not start <= end <= len(self.data):
            raise BadPickle("the pickle is cut off")
        self.position = end
        return self.data[start:end]

    def number(self, form: struct.Struct) -> Any:
        return form.unpack(self.take(form.size))[0]

    def line(self) -> bytes:
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise BadPickle("the pickle is cut off")
        line = self.take(end - self.position)
        self.position += 1
        return line

    # The stack

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        return self.stack.pop()

    def mark(self) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def pop_to_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.marked.pop()
        return items

    def pop_or_mark(self) -> None:
        if self.stack:
            self.pop()
        else:
            self.pop_to_mark()

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            _fail()
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def put(self, key: int) -> None:
        value = self.stack[-1]
        self.memo[key] = value
        if type(value) is _Unfinished:
            value.memo_keys.append(key)

    # Containers: exactly these types, so that no method of another one runs

    def append(self, items: list[Any]) -> None:
        self.top(list).extend(items)

    def add(self, items: list[Any]) -> None:
        self.top(set).update(map(_check_key, items))

    def set_items(self, items: list[Any]) -> None:
        self.top(dict).update(_pairs(items))

    def top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            _fail()
        return self.stack[-1]

    # Names, calls and states

    def name(self, module: Any, name: Any) -> None:
        called = _Global(module, name)
        if called not in _CALLS and called != _NDARRAY:
            shown = f"{module}.{name}"[:80]
            raise BadPickle(f"holds {shown!r}, {_EXPECTED}")
        self.has_globals = True
        self.push(called)

    def instance(self) -> None:
        self.name(self.line().decode(), self.line().decode())
        raise BadPickle(f"holds an object, {_EXPECTED}")

    def stack_name(self) -> None:
        name, module = self.pop(), self.pop()
        self.name(_of(str, module), _of(str, name))

    def reduce(self) -> None:
        arguments, called = self.pop(), self.pop()
        if type(called) is not _Global or called not in _CALLS:
            raise BadPickle(f"calls what is no function, {_EXPECTED}")
        value = _CALLS[called](*_of(tuple, arguments))
        self.count(value)
        self.push(value)

    def build(self) -> None:
        state, value = self.pop(), self.pop()
        if type(value) is not _Unfinished:
            raise BadPickle(f"holds an object, {_EXPECTED}")
        finished = value.finish(_of(tuple, state))
        self.count(finished)
        for key in value.memo_keys:
            self.memo[key] = finished
        self.push(finished)

    def count(self, value: Any) -> None:
        """Only a hostile file makes more than it holds; an array may count twice, as bytes too."""
        if isinstance(value, (bytes, set, frozenset)):
            self.made += len(value)
        elif isinstance(value, (np.ndarray, np.generic)):
            self.made += value.nbytes
        if self.made > 2 * len(self.data):
            raise BadPickle("makes more data than the file holds")


def _fail() -> Any:
    raise BadPickle("the pickle is damaged")


def _of(kind: type, value: Any) -> Any:
    return value if type(value) is kind else _fail()


def _check_key(key: Any) -> Any:
    """Keys are scalars or flat tuples: hashing deeper ones could take all of the stack or days."""
    for part in key if type(key) is tuple else (key,):
        if type(part) not in _SCALARS and not isinstance(part, np.generic):
            raise BadPickle(f"holds a {type(part).__name__} in a key")
    return key


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(map(_check_key, items[::2]), items[1::2], strict=True))


def _check_plain(value: Any) -> None:
    """Names and unfinished arrays that were never used must not reach the caller."""
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


def _string(line: bytes) -> str:
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        _fail()
    return codecs.escape_decode(line[1:-1])[0].decode("latin1")


def _integer(line: bytes) -> int | bool:
    return {b"00": False, b"01": True}[line] if line in (b"00", b"01") else int(line)


def _long(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def _latin1(data: bytes) -> str:
    return data.decode("latin1")


def _unicode(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


# What the names stand for


def _encode(text: Any, encoding: Any) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        _fail()
    return _of(str, text).encode("latin1")


def _empty_bytes() -> bytes:
    return b""


def _set(items: Any = ()) -> set:
    return set(map(_check_key, items))


def _frozenset(items: Any = ()) -> frozenset:
    return frozenset(map(_check_key, items))


def _reconstruct(kind: Any, *_: Any) -> _Unfinished:
    if kind != _NDARRAY:
        raise BadPickle(f"holds an array of a class of its own, {_EXPECTED}")

    def finish(state: tuple) -> np.ndarray:
        shape, dtype, fortran, raw = state[-4:]
        return _array(raw, dtype, shape, "F" if fortran else "C")

    return _Unfinished(finish)


def _dtype(kind: Any, *_: Any) -> _Unfinished:
    if not _PLAIN_DTYPE.fullmatch(_of(str, kind)):
        raise BadPickle(f"holds NumPy values of dtype {kind!r}, expected numbers or strings")

    def finish(state: tuple) -> np.dtype:
        _, order, *parts = state[:5]
        if order not in ("<", ">", "=", "|") or parts != [None] * 3:
            _fail()
        return np.dtype(order + kind)

    return _Unfinished(finish)


def _array(raw: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
    raw = raw.encode("latin1") if type(raw) is str else _of(bytes, raw)  # Python 2 has str alone
    if not isinstance(dtype, np.dtype) or order not in ("C", "F"):
        _fail()
    if any(type(size) is not int or size < 0 for size in _of(tuple, shape)):
        _fail()
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise BadPickle(f"an array of shape {shape} has {len(raw)} bytes of data")
    if dtype.kind == "U" and (np.frombuffer(raw, f"{dtype.byteorder}u4") > 0x10FFFF).any():
        raise BadPickle("an array of strings has characters that do not exist")
    return np.ndarray(shape, dtype, raw, order=order)


def _scalar(dtype: Any, raw: Any) -> Any:
    return _array(raw, dtype, ())[()]


_NDARRAY = _Global("numpy", "ndarray")
_CALLS: dict[_Global, Callable[..., Any]] = {
    _Global("_codecs", "encode"): _encode,
    _Global("numpy", "dtype"): _dtype,
}
for _builtins in ("builtins", "__builtin__"):  # of Python 3 and 2
    _CALLS[_Global(_builtins, "set")] = _set
    _CALLS[_Global(_builtins, "frozenset")] = _frozenset
    _CALLS[_Global(_builtins, "bytes")] = _empty_bytes
for _core in ("numpy.core", "numpy._core"):  # of NumPy 1 and 2
    _CALLS[_Global(f"{_core}.multiarray", "_reconstruct")] = _reconstruct
    _CALLS[_Global(f"{_core}.multiarray", "scalar")] = _scalar
    _CALLS[_Global(f"{_core}.numeric", "_frombuffer")] = _array

_U1, _U2, _U4, _U8 = (struct.Struct(f"<{form}") for form in "BHIQ")
_I4, _DOUBLE = struct.Struct("<i"), struct.Struct(">d")


def _sized(length: struct.Struct, decode: Callable[[bytes], Any]) -> Callable[[_Machine], None]:
    return lambda m: m.push(decode(m.take(m.number(length))))


_OPCODES: dict[int, Callable[[_Machine], Any]] = {
    code[0]: operation
    for code, operation in {
        pickle.PROTO: lambda m: m.take(1),
        pickle.FRAME: lambda m: m.take(8),
        # Scalars
        pickle.NONE: lambda m: m.push(None),
        pickle.NEWTRUE: lambda m: m.push(True),
        pickle.NEWFALSE: lambda m: m.push(False),
        pickle.INT: lambda m: m.push(_integer(m.line())),
        pickle.BININT: lambda m: m.push(m.number(_I4)),
        pickle.BININT1: lambda m: m.push(m.number(_U1)),
        pickle.BININT2: lambda m: m.push(m.number(_U2)),
        pickle.LONG: lambda m: m.push(int(m.line().removesuffix(b"L"))),
        pickle.LONG1: _sized(_U1, _long),
        pickle.LONG4: _sized(_I4, _long),
        pickle.FLOAT: lambda m: m.push(float(m.line())),
        pickle.BINFLOAT: lambda m: m.push(m.number(_DOUBLE)),
        # Strings and bytes
        pickle.STRING: lambda m: m.push(_string(m.line())),
        pickle.BINSTRING: _sized(_I4, _latin1),
        pickle.SHORT_BINSTRING: _sized(_U1, _latin1),
        pickle.UNICODE: lambda m: m.push(m.line().decode("raw-unicode-escape")),
        pickle.BINUNICODE: _sized(_U4, _unicode),
        pickle.SHORT_BINUNICODE: _sized(_U1, _unicode),
        pickle.BINUNICODE8: _sized(_U8, _unicode),
        pickle.BINBYTES: _sized(_U4, bytes),
        pickle.SHORT_BINBYTES: _sized(_U1, bytes),
        pickle.BINBYTES8: _sized(_U8, bytes),
        pickle.BYTEARRAY8: _sized(_U8, bytes),
        # The stack and what is remembered of it
        pickle.MARK: _Machine.mark,
        pickle.POP: _Machine.pop_or_mark,
        pickle.POP_MARK: _Machine.pop_to_mark,
        pickle.DUP: lambda m: m.push(m.stack[-1]),
        pickle.PUT: lambda m: m.put(int(m.line())),
        pickle.BINPUT: lambda m: m.put(m.number(_U1)),
        pickle.LONG_BINPUT: lambda m: m.put(m.number(_U4)),
        pickle.MEMOIZE: lambda m: m.put(len(m.memo)),
        pickle.GET: lambda m: m.push(m.memo[int(m.line())]),
        pickle.BINGET: lambda m: m.push(m.memo[m.number(_U1)]),
        pickle.LONG_BINGET: lambda m: m.push(m.memo[m.number(_U4)]),
        # Containers
        pickle.EMPTY_LIST: lambda m: m.push([]),
        pickle.EMPTY_DICT: lambda m: m.push({}),
        pickle.EMPTY_SET: lambda m: m.push(set()),
        pickle.EMPTY_TUPLE: lambda m: m.push(()),
        pickle.LIST: lambda m: m.push(m.pop_to_mark()),
        pickle.DICT: lambda m: m.push(_pairs(m.pop_to_mark())),
        pickle.TUPLE: lambda m: m.push(tuple(m.pop_to_mark())),
        pickle.FROZENSET: lambda m: m.push(_frozenset(m.pop_to_mark())),
        pickle.TUPLE1: lambda m: m.tuple_of(1),
        pickle.TUPLE2: lambda m: m.tuple_of(2),
        pickle.TUPLE3: lambda m: m.tuple_of(3),
        pickle.APPEND: lambda m: m.append([m.pop()]),
        pickle.APPENDS: lambda m: m.append(m.pop_to_mark()),
        pickle.SETITEM: lambda m: m.set_items([m.pop(), m.pop()][::-1]),
        pickle.SETITEMS: lambda m: m.set_items(m.pop_to_mark()),
        pickle.ADDITEMS: lambda m: m.add(m.pop_to_mark()),
        # Names, calls and states
        pickle.GLOBAL: lambda m: m.name(m.line().decode(), m.line().decode()),
        pickle.STACK_GLOBAL: _Machine.stack_name,
        pickle.INST: _Machine.instance,
        pickle.REDUCE: _Machine.reduce,
        pickle.BUILD: _Machine.build,
    }.items()
}
_REFUSED: dict[int, str] = {
    code[0]: f"holds {what}, {_EXPECTED}"
    for what, codes in {
        "an object": (pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX),
        "a persistent id": (pickle.PERSID, pickle.BINPERSID),
        "an extension": (pickle.EXT1, pickle.EXT2, pickle.EXT4),
        "a buffer of another file": (pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
    }.items()
    for code in codes
}
