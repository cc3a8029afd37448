"""PyTorch's checkpoint files are read as data. The tests write them without PyTorch."""

import argparse
import io
import math
import os
import pickle
import re
import sys
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import ml_dtypes
import mutation
import numpy as np
import pytest
from torch_writer import (
    KINDS,
    Call,
    Id,
    Name,
    Storage,
    archive,
    both,
    entries_of,
    older,
    tensor,
    view,
    zipped,
)

from vtmask.errors import UserError
from vtmask.files import pytorch


def written(folder: Path, data: bytes) -> Path:
    path = folder / "model.pt"
    path.write_bytes(data)
    return path


def read(folder: Path, data: bytes) -> Any:
    return pytorch.load(written(folder, data))


def refused(folder: Path, data: bytes, problem: str) -> None:
    path = written(folder, data)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: {problem}") as caught:
        pytest.fail(f"read {pytorch.load(path)!r}")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < len(str(path)) + 250


# Content that is read


@both
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_tensors_of_every_type(tmp_path: Path, write: Callable[..., bytes], protocol: int) -> None:
    arrays = {kind: np.arange(-2, 4).astype(kind).reshape(2, 3) for kind in KINDS}
    loaded = read(tmp_path, write({kind: tensor(arrays[kind]) for kind in KINDS}, protocol))
    assert list(loaded) == list(KINDS)
    for kind, array in arrays.items():
        assert loaded[kind].dtype == array.dtype and loaded[kind].shape == (2, 3)
        assert loaded[kind].tobytes() == array.tobytes()
        assert type(loaded[kind]) is np.ndarray and not loaded[kind].flags.writeable
    assert loaded["bfloat16"].dtype == ml_dtypes.bfloat16


@both
def test_types_without_a_storage_class_are_read(
    tmp_path: Path, write: Callable[..., bytes]
) -> None:
    array = np.arange(6, dtype=np.uint32)
    storage = Storage(array.view(np.uint8), "Untyped")
    eight = Storage(np.array([0x38, 0xB8], np.uint8), "Untyped")
    loaded = read(
        tmp_path,
        write(
            {
                "uint32": view(storage, 1, (2, 2), (2, 1), Name("torch", "uint32")),
                "float8": view(eight, 0, (2,), (1,), Name("torch", "float8_e4m3fn")),
                "storage": eight,
            }
        ),
    )
    np.testing.assert_array_equal(loaded["uint32"], [[1, 2], [3, 4]])
    np.testing.assert_array_equal(loaded["float8"].astype(np.float32), [1, -1])
    np.testing.assert_array_equal(loaded["storage"], eight.data)


@both
def test_views_of_a_storage(tmp_path: Path, write: Callable[..., bytes]) -> None:
    values = np.arange(24, dtype=np.float32)
    storage = Storage(values)
    views: dict[str, tuple[int, tuple, tuple]] = {
        "whole": (0, (4, 6), (6, 1)),
        "tied": (0, (4, 6), (6, 1)),
        "transposed": (0, (6, 4), (1, 6)),
        "part": (7, (2, 3), (6, 2)),
        "last": (23, (), ()),
        "one": (23, (1, 1), (99, 99)),
        "windows": (0, (5, 8), (4, 1)),
        "expanded": (3, (2, 3), (0, 1)),
        "empty": (24, (0, 3), (3, 1)),
        "empty inside": (99, (3, 0, 2), (2, 2, 1)),
    }
    loaded = read(tmp_path, write({name: view(storage, *of) for name, of in views.items()}))
    for name, (offset, shape, strides) in views.items():
        index = sum(
            (np.arange(n).reshape((-1,) + (1,) * (len(shape) - i - 1)) * step)
            for i, (n, step) in enumerate(zip(shape, strides, strict=True))
        )
        expected = values[offset + index] if math.prod(shape) else np.zeros(shape, np.float32)
        np.testing.assert_array_equal(loaded[name], expected, err_msg=name)
        assert loaded[name].shape == shape
    assert np.shares_memory(loaded["whole"], loaded["tied"])
    assert np.shares_memory(loaded["whole"], loaded["part"])


@both
def test_other_content_of_checkpoints_is_read(tmp_path: Path, write: Callable[..., bytes]) -> None:
    weight = tensor(np.ones((2, 3), np.float32))
    state: Any = OrderedDict(weight=weight, again=weight)
    state._metadata = OrderedDict({"": {"version": 1}})
    config = argparse.Namespace(arch="vlm", lr=[1e-3])
    config.inner, config.own = argparse.Namespace(n=None), config
    value = {
        "model": state,
        "args": config,
        "same": config,
        "none": argparse.Namespace(),
        "order": Call(OrderedDict, ([["b", 1], ["a", 2]],)),  # as Python 2 writes it
        "parameter": Call(Name("torch._utils", "_rebuild_parameter"), (weight, True, {})),
        "old": Call(Name("torch._utils", "_rebuild_tensor"), weight.arguments[:4]),
        "size": Call(Name("torch", "Size"), ((2, 3),)),
        "dtype": Name("torch", "bfloat16"),
        "best": np.float64(0.5),
        "plain": [None, True, 2**80, "é", b"x", (1, {2}), frozenset("a")],
    }
    loaded = read(tmp_path, write(value))
    assert type(loaded["model"]) is dict and list(loaded["model"]) == ["weight", "again"]
    assert loaded["model"]["weight"] is loaded["model"]["again"]
    for array in (loaded["parameter"], loaded["old"]):
        np.testing.assert_array_equal(array, np.ones((2, 3)))
    config = loaded["args"]
    assert type(config) is dict and config["own"] is config is loaded["same"]
    assert config["lr"] == [1e-3] and config["inner"] == {"n": None} and loaded["none"] == {}
    assert list(loaded["order"].items()) == [("b", 1), ("a", 2)]
    assert loaded["size"] == (2, 3) and loaded["dtype"] == ml_dtypes.bfloat16
    assert loaded["best"] == 0.5 and loaded["plain"] == value["plain"]


def test_the_folder_and_the_byte_order_may_vary(tmp_path: Path) -> None:
    """The folder has the file's name or "archive"; files before PyTorch 2 state no byte order."""
    entries = entries_of(tensor(np.ones(3, np.float32)))
    del entries["byteorder"]
    loaded = read(tmp_path, archive(entries | {".data/serialization_id": b"1"}, folder="é x/"))
    np.testing.assert_array_equal(loaded, np.ones(3))


@pytest.mark.parametrize(
    "checkpoint, case",
    [("vlm_checkpoint.pt", "vlm_pretrain.npz")] + [("videoclip_checkpoint.pt", "videoclip.npz")],
)
def test_published_checkpoints_are_read(golden_dir: Path, checkpoint: str, case: str) -> None:
    if not (golden_dir / checkpoint).exists():
        pytest.skip(f"{golden_dir} has no {checkpoint}")
    loaded = pytorch.load(golden_dir / checkpoint)
    assert isinstance(loaded["args"], dict)
    weights = np.load(golden_dir / case)
    names = [name for name in weights.files if name.startswith("param/")]
    assert names
    for name in names:
        published = loaded["model"][f"mmmodel.{name.removeprefix('param/')}"]
        assert published.dtype == weights[name].dtype
        np.testing.assert_array_equal(published, weights[name])


# Content that is refused


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none.pt: cannot be read: No such file"):
        pytorch.load(tmp_path / "none.pt")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        pytorch.load(tmp_path)
    refused(tmp_path, b"", "is empty, expected a PyTorch checkpoint")
    safetensors = (2).to_bytes(8, "little") + b"{}"
    for data in (b"text\n", b"<!DOCTYPE html>\n<title>404</title>", safetensors, pickle.dumps([1])):
        refused(tmp_path, data, r"begins with b['\"].*, expected what torch.save writes")
    complete = zipped([tensor(np.ones(3, np.float32))])
    refused(tmp_path, complete[:-30], "is not a complete zip archive")
    refused(tmp_path, b"PK\3\4", "is not a complete zip archive")
    array = io.BytesIO()
    np.savez_compressed(array, a=np.ones(3))
    refused(tmp_path, array.getvalue(), "is a zip archive without data.pkl")
    refused(tmp_path, archive({}), "is not a complete zip archive|begins with")
    for part in ("code/model.py", "constants.pkl"):
        script = archive(entries_of([]) | {part: b""}, zipfile.ZIP_DEFLATED)
        refused(tmp_path, script, "is a TorchScript archive, which is a program; .* state_dict")


def test_zip_archives_that_torch_does_not_write_are_refused(tmp_path: Path) -> None:
    entries = entries_of(tensor(np.ones(3, np.float32)))
    bomb = archive(entries | {"data/0": bytes(1 << 24)}, zipfile.ZIP_DEFLATED)
    refused(tmp_path, bomb, "entry 'made/data.pkl' is compressed or encrypted")
    refused(tmp_path, archive(entries | {"byteorder": b"big"}), "comes from a big-endian machine")
    with pytest.warns(UserWarning, match="Duplicate name"):
        file = io.BytesIO(archive(entries))
        with zipfile.ZipFile(file, "a") as more:
            more.writestr("made/data/0", bytes(12))
    refused(tmp_path, file.getvalue(), "is a zip archive with two entries of the same name")
    complete = archive(entries)
    for field, size in ((20, 4), (24, 4), (42, 4)):  # sizes and position in the list of entries
        at = complete.rindex(b"PK\1\2") + field
        refused(
            tmp_path, complete[:at] + b"\xf0" * size + complete[at + size :], "entry 'made/version'"
        )


@pytest.mark.parametrize("size", [0, 8, 11, 13, 1000])
def test_zipped_storages_of_another_size_are_refused(tmp_path: Path, size: int) -> None:
    entries = entries_of(tensor(np.ones(3, np.float32))) | {"data/0": bytes(size)}
    problem = f"data.pkl: byte .*: storage '0' has {size} bytes, expected 12"
    refused(tmp_path, archive(entries), problem)
    del entries["data/0"]
    refused(tmp_path, archive(entries), "data.pkl: byte .*: storage '0' has 0 bytes, expected 12")


def test_older_files_with_wrong_parts_are_refused(tmp_path: Path) -> None:
    value = [tensor(np.ones(3, np.float32)), tensor(np.zeros(2, np.int8))]
    refused(tmp_path, older(value, version=1002), "is not of version 1001 of PyTorch's older")
    refused(tmp_path, older(value, little=False), "comes from a big-endian machine")
    refused(tmp_path, older(value, little=1), "comes from a big-endian machine")
    for keys in (["0"], ["0", "1", "1"], [], ["1", "1"]):
        refused(
            tmp_path,
            older(value, keys=keys),
            "lists storages that differ from those of its tensors",
        )
    others: list[Any] = [None, ("0", "1"), 7, [0, 1]]
    for other in others:
        refused(tmp_path, older(value, keys=other), "has no list of storages behind its tensors")
    for count in (0, 3, -1, 2**62):
        refused(
            tmp_path, older(value, count=count), "byte .*: storage '1' is cut off or of another"
        )


@both
def test_tensors_beyond_their_storage_are_refused(
    tmp_path: Path, write: Callable[..., bytes]
) -> None:
    storage = Storage(np.zeros(24, np.float32))
    beyond: list[tuple[Any, Any, Any]] = [
        *((1, (4, 6), (6, 1)), (0, (4, 7), (6, 1)), (24, (), ()), (0, (2,), (24,))),
        *((0, (2**62,), (1,)), (2**70, (1,), (1,)), (0, (2, 2), (2**62, 2**62))),
    ]
    for of in beyond:
        refused(tmp_path, write(view(storage, *of)), ".*a tensor reaches beyond the 96 bytes of")
    wider = view(storage, 0, (13,), (1,), Name("torch", "float64"))
    refused(tmp_path, write(wider), ".*a tensor reaches beyond the 96 bytes of its storage")
    junk: list[tuple[Any, Any, Any]] = [
        *((-1, (2,), (1,)), (0, (-1,), (1,)), (23, (2,), (-1,)), (0, (2,), ()), (0, (), (1,))),
        *((0, [2], [1]), (0, 2, 1), (0, (2.0,), (1,)), (0.0, (2,), (1,)), (0, (True,), (1,))),
        *((None, None, None), ("0", "2", "1"), (0, ((2,),), (1,)), (0, (1,) * 99, (1,) * 99)),
        *((0, (0, 2**70), (1, 1)), (0, (1,), (2**70,)), (0, (2**40, 2**40, 0), (1, 1, 1))),
    ]
    for of in junk:
        refused(tmp_path, write(view(storage, *of)), ".*the pickle is damaged")
    others: list[Any] = [
        None,
        1,
        "0",
        [],
        {},
        Name("torch", "float32"),
        np.float32(1),
        np.array("x"),
    ]
    for other in others:
        refused(tmp_path, write(view(other, 0, (1,), (1,))), ".*the pickle is damaged")
    for dtype in (np.dtype("S4"), np.dtype(">f4"), np.dtype("U1")):
        refused(tmp_path, write(view(storage, 0, (1,), (1,), dtype)), ".*the pickle is damaged")


@both
def test_persistent_ids_that_are_no_storages_are_refused(
    tmp_path: Path, write: Callable[..., bytes]
) -> None:
    float32 = Name("torch", "FloatStorage")
    storage = Storage(np.zeros(4, np.float32))
    ids: list[Any] = [
        *(1, "0", (), [], ("storage",), ("module", float32, "0", "cpu", 4)),
        *(("storage", float32, 0, "cpu", 4), ("storage", float32, storage, "cpu", 4)),
        *(("storage", float32, "0", "cpu", 4, ("1", 0, 2)), ("storage",) * 7),
    ]
    for value in ids:
        refused(tmp_path, write(Id(value)), ".*holds a persistent id that names no whole storage")
    counts: list[Any] = [-1, "4", None, 4.0, True]
    kinds: list[Any] = [None, "float32", np.dtype("U1"), Name("torch", "Size"), OrderedDict()]
    damaged = [("storage", float32, "0", "cpu", count) for count in counts]
    damaged += [("storage", kind, "0", "cpu", 4) for kind in kinds]
    for value in damaged:
        refused(tmp_path, write(Id(value)), ".*the pickle is damaged")
    for kind, count in (("LongStorage", 4), ("FloatStorage", 3)):
        two = [storage, Id(("storage", Name("torch", kind), "0", "cpu", count))]
        refused(tmp_path, write(two), ".*storage '0' has two types or sizes")
    for count in (2**20, 2**62, 2**80):
        giant = Id(("storage", float32, "0", "cpu", count))
        refused(tmp_path, write(giant), ".*storage '0' is longer than the file")


@both
def test_hugely_expanded_tensors_are_refused(tmp_path: Path, write: Callable[..., bytes]) -> None:
    """They take no memory themselves, but a copy could take a terabyte."""
    storage = Storage(np.zeros(2, np.float32))
    problem = ".*expands tensors to over 8 times the file's size"
    for shape, strides in (((2**40,), (0,)), ((2**31, 2**31), (0, 0)), ((2**62, 2), (0, 1))):
        refused(tmp_path, write(view(storage, 0, shape, strides)), problem)
    large = Storage(np.zeros(1000, np.float32))
    refused(tmp_path, write([view(large, 0, (1000,), (1,)) for _ in range(99)]), problem)


def test_flags_that_change_values_are_refused(tmp_path: Path) -> None:
    storage = Storage(np.ones(2, np.complex64))
    plain = Call(Name("torch._utils", "_rebuild_tensor_v2"), (storage, 0, (2,), (1,), False, {}))
    for flags in ({"conj": True}, {"neg": True}, 1):
        value = Call(plain.function, (*plain.arguments, flags))
        refused(tmp_path, zipped(value), ".*holds a conjugate or negative view")
    assert read(tmp_path, zipped(Call(plain.function, (*plain.arguments, {})))).shape == (2,)


def modules() -> set[str]:
    return {name for name in sys.modules if not name.startswith("encodings.")}


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yields the file that hostile checkpoints would write.

    Checks that it is not written and that no module is imported.
    """
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "vtmask_trap.py").write_text(f"open({str(tmp_path / 'trap')!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    loaded = modules()
    yield tmp_path / "trap"
    assert not (tmp_path / "trap").exists()
    assert modules() == loaded


@both
@pytest.mark.parametrize("protocol", [2, 4])
def test_hostile_checkpoints_execute_nothing(
    tmp_path: Path, trap: Path, write: Callable[..., bytes], protocol: int
) -> None:
    command = f"touch {trap}"
    storage = Storage(np.zeros(4, np.float32))
    system = f"{os.system.__module__}.system"
    named = {
        system: Call(os.system, (command,)),
        "__builtin__.eval": Call(Name("__builtin__", "eval"), (f"open({str(trap)!r}, 'w')",)),
        "vtmask_trap.run": Call(Name("vtmask_trap", "run"), ()),
        "torch.load": Call(Name("torch", "load"), (str(trap),)),
        "torch.hub.load": Call(Name("torch", "hub.load"), (str(trap),)),
        "torch.storage._load_from_bytes": Call(Name("torch.storage", "_load_from_bytes"), (b"",)),
        "torch.FooStorage": Id(("storage", Name("torch", "FooStorage"), "0", "cpu", 4)),
        "torch._utils._rebuild_qtensor": Call(Name("torch._utils", "_rebuild_qtensor"), ()),
        "fairseq.models.Model": Name("fairseq.models", "Model"),
    }
    for name, value in named.items():
        for hidden in (value, {"model": [(value,)]}, view(storage, 0, (4,), (1,), value)):
            shown = re.escape(f"holds '{name}', expected plain data and arrays alone; nothing was")
            refused(tmp_path, write(hidden, protocol), f".*{shown} executed$")
    namespace, size = Name("argparse", "Namespace"), Name("torch", "Size")
    for value in (
        *(namespace, [size], {1: Name("torch._utils", "_rebuild_tensor_v2")}, Call(namespace, ())),
        *(Call(Name("torch", "FloatStorage"), (4,)), Call(Name("torch", "float32"), ("O",))),
        *(Call(size, ([1],)), Call(size, ((1, -1),)), Call(size, (("a",),)), Call(size, ())),
        *(Call(OrderedDict, (1,)), Call(OrderedDict, ([([], 1)],)), Call(OrderedDict, ([1],))),
        *(Call(OrderedDict, ([(((1,),), 1)],)), Call(OrderedDict, ([(storage, 1)],))),
        Call(Name("torch._utils", "_rebuild_parameter"), ()),
        Call(Name("torch._utils", "_rebuild_parameter"), (namespace, True, {})),
    ):
        refused(tmp_path, write(value, protocol), ".*byte ")


def test_objects_and_their_states(tmp_path: Path) -> None:
    namespace = b"cargparse\nNamespace\n"
    for state, value in ((b"", {}), (b"}b", {}), (b"}U\1aK\1sb", {"a": 1})):
        data = archive({"data.pkl": b"\x80\x02" + namespace + b")\x81" + state + b"."})
        assert read(tmp_path, data) == value
    for data in (
        *(namespace + b"K\1\x85\x81", namespace + b")\x81K\1b", namespace + b")\x81N}\x86b"),
        *(namespace + b"}b", namespace + b")R", namespace + b"o", namespace + b")}\x92"),
        *(b"ccollections\nOrderedDict\n)\x81", b"ctorch._utils\n_rebuild_tensor_v2\n}b"),
    ):
        refused(tmp_path, archive({"data.pkl": b"\x80\x02" + data + b"."}), "data.pkl: byte ")


@both
def test_hostile_checkpoints_take_little_memory(
    tmp_path: Path, write: Callable[..., bytes]
) -> None:
    storage = Storage(np.zeros(2, np.float32))
    giant = Id(("storage", Name("torch", "FloatStorage"), "0", "cpu", 2**28))
    items = [[i, i] for i in range(200)]
    cases = {
        "giant storage": giant,
        "expanded": view(storage, 0, (2**28,), (0,)),
        "many views": [view(storage, 0, (2,), (1,)) for _ in range(2000)],
        "many dicts": [Call(OrderedDict, (items,)) for _ in range(2000)],
    }
    files = {name: write(value) for name, value in cases.items()}
    state = pickle.dumps({str(i): i for i in range(200)}, 2)[:-1]
    many = b"0cargparse\nNamespace\nr\0\1\0\0(" + b"j\0\1\0\0)\x81h\0b" * 2000 + b"t."
    files["many namespaces"] = archive({"data.pkl": state + many})
    tracemalloc.start()
    try:
        for name, data in files.items():
            path = written(tmp_path, data)
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            with nullcontext() if name == "many views" else pytest.raises(UserError):
                pytorch.load(path)
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before < 200_000 + 100 * path.stat().st_size, name
    finally:
        tracemalloc.stop()


# Damaged files

VALUE = {
    "model": OrderedDict(a=tensor(np.ones((3, 4), np.float32)), b=tensor(np.zeros(5, np.int64))),
    "args": argparse.Namespace(arch="vlm", lr=[0.1], n={1, 2}),
    "bf": tensor(np.ones(6, ml_dtypes.bfloat16)),
    "best": np.float64(3),
}


def used(path: Path) -> None:
    """Reads the file, and every element of every array in it."""
    todo, size = [pytorch.load(path)], 0
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            todo += [*value, *value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            todo += value
        elif isinstance(value, np.ndarray):
            size += len(value.tobytes())
    assert size <= 10 * path.stat().st_size


@both
@pytest.mark.parametrize("protocol", [2, 4])
def test_damaged_checkpoints(
    tmp_path: Path, trap: Path, write: Callable[..., bytes], protocol: int
) -> None:
    data = write(VALUE, protocol)
    used(written(tmp_path, data))
    assert mutation.refusals(data, tmp_path / "model.pt", used, 400)


def test_damaged_pickles_in_complete_archives(tmp_path: Path, trap: Path) -> None:
    entries = entries_of(VALUE)

    def wrapped(path: Path) -> None:
        path.write_bytes(archive(entries | {"data.pkl": path.read_bytes()}))
        used(path)

    assert mutation.refusals(entries["data.pkl"], tmp_path / "model.pt", wrapped, 400)


@both
def test_truncated_checkpoints_are_refused(tmp_path: Path, write: Callable[..., bytes]) -> None:
    data = write(VALUE)
    for end in range(0, len(data), 7):
        refused(tmp_path, data[:end], "")
    refused(tmp_path, data[:-1], "")
