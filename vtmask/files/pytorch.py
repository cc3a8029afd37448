"""Reads PyTorch's checkpoint files as data: nothing in them runs, and PyTorch is not needed.

The formats are those of `torch/serialization.py` and `torch/_utils.py` in PyTorch 2.13.
"""

import io
import math
import mmap
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from vtmask.errors import UserError, reason
from vtmask.files import pickles
from vtmask.files.pickles import BadPickle

_ZIP = b"PK\3\4"
_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_MOST = 8  # limit of all tensors together, in file sizes; views count as if they were copies

_DTYPES = {
    name: np.dtype(getattr(ml_dtypes, name, name))
    for name in (
        *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
        *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
        *("float8_e4m3fn", "float8_e5m2"),
    )
}
_STORAGES = {
    **{"Bool": "bool", "Byte": "uint8", "Char": "int8", "Short": "int16", "Int": "int32"},
    **{"Long": "int64", "Half": "float16", "BFloat16": "bfloat16", "Float": "float32"},
    **{"Double": "float64", "ComplexFloat": "complex64", "ComplexDouble": "complex128"},
    **{"Untyped": "uint8", "_Untyped": "uint8"},  # the latter from PyTorch 1.11 to 1.13
}


def load(path: str | Path) -> Any:
    """Reads a file of `torch.save`, a zip archive or the format before PyTorch 1.6.

    Nothing is executed, no module is imported, and the memory used is at most a small multiple of
    the file's size. Checksums are not verified.

    Returns:
      Plain data, as `vtmask.files.pickles.load` returns it. Tensors, parameters and storages become
      read-only NumPy arrays of the same shape (bfloat16 and float8 come from ml_dtypes), a
      torch.dtype a NumPy dtype, a torch.Size a tuple, an OrderedDict or argparse.Namespace a dict.
      Tensors that shared memory still do. From a zip archive they are views of the mapped file,
      which is read as they are used and must not change until then. From the older format they
      own their memory.

    Raises:
      UserError: the file cannot be read, is damaged, of another format or from a big-endian
        machine, or holds anything else, which the message names.
    """
    try:
        with open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise UserError(f"{path}: is empty, expected a PyTorch checkpoint")
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error
    try:
        if data[:4] == _ZIP:
            return _from_zip(data)
        if _MAGIC.to_bytes(10, "little") in data[:64]:
            return _from_stream(data)
    except BadPickle as error:
        raise UserError(f"{path}: {error}") from error
    raise UserError(f"{path}: begins with {data[:16]!r}, expected what torch.save writes")


def _from_zip(data: mmap.mmap) -> Any:
    entries = _entries(data)
    if entries.get("byteorder", b"little") != b"little":
        raise BadPickle("comes from a big-endian machine; save it on a little-endian one")

    def find(key: str, size: int) -> memoryview:
        content = entries.get(f"data/{key}", memoryview(b""))
        if len(content) != size:
            raise BadPickle(f"storage {key[:40]!r} has {len(content)} bytes, expected {size}")
        return content

    try:
        return _Tensors(len(data), find).read(io.BytesIO(entries["data.pkl"]))
    except BadPickle as error:
        raise BadPickle(f"data.pkl: {error}") from error


def _entries(data: Any) -> dict[str, memoryview]:
    """Returns the content of each entry by its name within the archive's top folder."""
    try:
        with zipfile.ZipFile(data) as archive:
            infos = archive.infolist()
    except (*pickles.DAMAGES, OSError, NotImplementedError, zipfile.BadZipFile) as error:
        raise BadPickle(f"is not a complete zip archive: {reason(error)}") from error
    root = infos[0].filename.split("/")[0] + "/" if infos else ""
    by_name = {info.filename.removeprefix(root): info for info in infos}
    if len(by_name) < len(infos):
        raise BadPickle("is a zip archive with two entries of the same name")
    if any(name.startswith(("code/", "constants.pkl")) for name in by_name):
        raise BadPickle(
            "is a TorchScript archive, which is a program; load it with torch.jit.load and write "
            "its state_dict() with torch.save"
        )
    if "data.pkl" not in by_name:
        raise BadPickle("is a zip archive without data.pkl, expected what torch.save writes")
    return {name: _content(data, info) for name, info in by_name.items()}


def _content(data: mmap.mmap, info: zipfile.ZipInfo) -> memoryview:
    name, start = info.filename[:60], info.header_offset
    if info.compress_type or info.compress_size != info.file_size or info.flag_bits & 1:
        raise BadPickle(f"entry {name!r} is compressed or encrypted, as torch.save never does it")
    header = data[start : start + 30] if start >= 0 else b""
    if len(header) == 30 and header.startswith(_ZIP):
        start += 30 + sum(struct.unpack("<HH", header[26:]))  # its name and padding
        if start + info.file_size <= len(data):
            return memoryview(data)[start : start + info.file_size]
    raise BadPickle(f"entry {name!r} is damaged or cut off")


def _from_stream(data: mmap.mmap) -> Any:
    if pickles.read(data) != _MAGIC or pickles.read(data) != _VERSION:
        raise BadPickle(f"is not of version {_VERSION} of PyTorch's older format")
    system = pickles.read(data)
    if type(system) is not dict or system.get("little_endian") is not True:
        raise BadPickle("comes from a big-endian machine; save it on a little-endian one")
    buffers: dict[str, np.ndarray] = {}  # filled below: the storages follow the tensors in the file

    def find(key: str, size: int) -> np.ndarray:
        return buffers.setdefault(key, np.empty(size, np.uint8))

    tensors = _Tensors(len(data), find)
    value, keys = tensors.read(data), pickles.read(data)
    if type(keys) is not list or any(type(key) is not str for key in keys):
        raise BadPickle("has no list of storages behind its tensors")
    if sorted(keys) != sorted(buffers):
        raise BadPickle("lists storages that differ from those of its tensors")
    for key in keys:
        start, size = data.tell(), 8 + buffers[key].size
        content = memoryview(data)[start : start + size]
        count = int.from_bytes(content[:8], "little")
        if len(content) < size or count != tensors.storages[key].size:
            raise BadPickle(f"byte {start}: storage {key[:40]!r} is cut off or of another size")
        buffers[key][:] = content[8:]
        data.seek(start + size)
    return value


class _Tensors:
    """Makes the storages and tensors of a file.

    Attributes:
      find: returns the bytes of a storage, given its key and size.
      unclaimed: bytes of the file that no storage has claimed.
      left: bytes that further tensors may take.
    """

    def __init__(self, file_size: int, find: Callable[[str, int], Any]):
        self.find = find
        self.storages: dict[str, np.ndarray] = {}
        self.unclaimed = file_size
        self.left = _MOST * file_size

    def read(self, file: io.BytesIO | mmap.mmap) -> Any:
        names: dict[tuple[str, str], Any] = {("torch", name): _DTYPES[name] for name in _DTYPES}
        for name, dtype in _STORAGES.items():
            for module in ("torch", "torch.storage"):
                names[module, f"{name}Storage"] = _DTYPES[dtype]
        for version in ("", "_v2", "_v3"):
            names["torch._utils", f"_rebuild_tensor{version}"] = self.tensor
        names["torch._utils", "_rebuild_parameter"] = lambda tensor, *_: tensor
        names["torch", "Size"] = _sizes
        names["collections", "OrderedDict"] = _ordered_dict
        names["argparse", "Namespace"] = pickles.OBJECT
        return pickles.read(file, names, self.storage)

    def storage(self, persistent_id: Any) -> np.ndarray:
        """Returns the storage [count] of ("storage", dtype, key, device, count[, None])."""
        match persistent_id:
            case ("storage", dtype, str(key), _, n) | ("storage", dtype, str(key), _, n, None):
                size = _sizes((n,))[0] * _known(dtype).itemsize
            case _:
                raise BadPickle("holds a persistent id that names no whole storage")
        if key not in self.storages:
            self.unclaimed -= size
            if self.unclaimed < 0:
                raise BadPickle(f"storage {key[:40]!r} is longer than the file")
            self.storages[key] = np.ndarray(n, dtype, self.find(key, size))
            self.storages[key].flags.writeable = False
        if self.storages[key].dtype != dtype or self.storages[key].size != n:
            raise BadPickle(f"storage {key[:40]!r} has two types or sizes")
        return self.storages[key]

    def tensor(self, storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> np.ndarray:
        """Returns a view of a storage; offset and strides count elements.

        `rest` holds whether it requires gradients, its hooks and, optionally, a dtype other than
        the storage's and a dict of flags that change what the elements mean.
        """
        dtype = _known(storage.dtype)
        for extra in rest[2:]:
            if isinstance(extra, np.dtype):
                dtype = _known(extra)
            elif extra:
                raise BadPickle("holds a conjugate or negative view; save the resolved tensor")
        pairs = list(zip(_sizes(shape), _sizes(strides), strict=True))
        if len(pairs) > 64:  # NumPy's limit; the product of many sizes would take long
            raise ValueError
        last = sum((n - 1) * step for n, step in pairs) + _sizes((offset,))[0]
        if 0 in shape:
            offset = 0
        elif (last + 1) * dtype.itemsize > storage.nbytes:
            raise BadPickle(f"a tensor reaches beyond the {storage.nbytes} bytes of its storage")
        self.left -= math.prod(shape) * dtype.itemsize
        if self.left < 0:
            raise BadPickle(f"expands tensors to over {_MOST} times the file's size; save clones")
        strides = [step * dtype.itemsize for step in strides]
        return np.ndarray(shape, dtype, storage.view(np.uint8), offset * dtype.itemsize, strides)


# Arguments may be anything.


def _known(dtype: Any) -> np.dtype:
    if not isinstance(dtype, np.dtype) or dtype not in _DTYPES.values():
        raise TypeError
    return dtype


def _sizes(values: Any) -> tuple[int, ...]:
    if type(values) is not tuple or any(type(n) is not int or n < 0 for n in values):
        raise ValueError
    return values


def _ordered_dict(items: Any = ()) -> dict:
    pickles.check_keys(key for key, _ in items)
    return dict(items)
