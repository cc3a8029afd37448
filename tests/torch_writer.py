"""Writes PyTorch's checkpoint files without PyTorch, including ones that it would never write."""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
KINDS = {
    **{"float16": "Half", "float32": "Float", "float64": "Double", "bfloat16": "BFloat16"},
    **{"int8": "Char", "int16": "Short", "int32": "Int", "int64": "Long", "uint8": "Byte"},
    **{"bool": "Bool", "complex64": "ComplexFloat", "complex128": "ComplexDouble"},
}


# The values that torch.save writes


@dataclass(frozen=True)
class Name:
    """Pickles as a global of a module that need not exist."""

    module: str
    name: str

    def __call__(self) -> None:
        """Exists because a callee in a pickle must be callable."""


@dataclass(frozen=True)
class Call:
    """Pickles as a call."""

    function: Any
    arguments: tuple


@dataclass(eq=False)
class Storage:
    data: np.ndarray  # [elements]
    kind: str = ""

    @property
    def name(self) -> Name:
        return Name("torch", f"{self.kind or KINDS[self.data.dtype.name]}Storage")


@dataclass(frozen=True)
class Id:
    """Pickles as a persistent id."""

    value: Any


_Base: Any = pickle._Pickler


class Pickler(_Base):
    """Puts storages aside as torch.save does."""

    def __init__(self, file: io.BytesIO, protocol: int, older: bool):
        super().__init__(file, protocol)
        self.older = older
        self.storages: list[Storage] = []

    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, Id):
            return value.value
        if not isinstance(value, Storage):
            return None
        if all(value is not storage for storage in self.storages):
            self.storages.append(value)
        key = str(next(i for i, storage in enumerate(self.storages) if storage is value))
        size = len(value.data)
        return ("storage", value.name, key, "cpu", size) + ((None,) if self.older else ())

    def reducer_override(self, value: Any) -> Any:
        return (value.function, value.arguments) if isinstance(value, Call) else NotImplemented

    def save_name(self, name: Name) -> None:
        self.write(f"c{name.module}\n{name.name}\n".encode())

    dispatch = _Base.dispatch | {Name: save_name}


def pickled(value: Any, protocol: int, older: bool) -> tuple[bytes, list[Storage]]:
    file = io.BytesIO()
    pickler = Pickler(file, protocol, older)
    pickler.dump(value)
    return file.getvalue(), pickler.storages


def archive(
    entries: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED, folder: str = "made/"
) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as written:
        for name, content in entries.items():
            written.writestr(folder + name, content)
    return file.getvalue()


def entries_of(value: Any, protocol: int = 2) -> dict[str, bytes]:
    data, storages = pickled(value, protocol, older=False)
    contents = {f"data/{i}": storage.data.tobytes() for i, storage in enumerate(storages)}
    return {"data.pkl": data, "byteorder": b"little", **contents, "version": b"3\n"}


def zipped(value: Any, protocol: int = 2) -> bytes:
    return archive(entries_of(value, protocol))


def older(value: Any, protocol: int = 2, **changed: Any) -> bytes:
    """Writes the format before PyTorch 1.6, optionally with changed parts."""
    data, storages = pickled(value, protocol, older=True)
    keys = changed.get("keys", [str(i) for i in range(len(storages))][::-1])
    system = {"protocol_version": VERSION, "little_endian": changed.get("little", True)}
    heads = (changed.get("magic", MAGIC), changed.get("version", VERSION), system)
    parts = [pickle.dumps(head, protocol) for head in heads] + [data, pickle.dumps(keys, protocol)]
    for key in keys if isinstance(keys, list) else []:
        content = storages[int(key)].data
        count = changed.get("count", len(content))
        parts += [count.to_bytes(8, "little", signed=True), content.tobytes()]
    return b"".join(parts)


FORMATS: dict[str, Callable[..., bytes]] = {"zip": zipped, "older": older}
both = pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)


def view(storage: Any, offset: Any, shape: Any, strides: Any, *more: Any) -> Call:
    arguments = (storage, offset, shape, strides, False, OrderedDict(), *more)
    return Call(Name("torch._utils", f"_rebuild_tensor_v{3 if more else 2}"), arguments)


def tensor(array: np.ndarray) -> Call:
    strides = tuple(step // array.itemsize for step in array.strides)
    return view(Storage(array.reshape(-1)), 0, array.shape, strides)
