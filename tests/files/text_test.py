"""Foreign files are read as data, and errors are one line."""

import io
import json
import os
import pickle
import re
import struct
import sys
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import mutation
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtmask import files
from vtmask.errors import UserError
from vtmask.files import pickles


def written(folder: Path, data: bytes | str) -> Path:
    path = folder / "file"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def refused(path: Path, problem: str) -> Any:
    return pytest.raises(UserError, match=f"^{re.escape(f'{path}: {problem}')}")


# Text and JSON


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_may_have_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path, ' "é" \r\n\n [1]\n'.encode(encoding))
    assert files.read_lines(path) == ['"é"', "[1]"]
    path = written(tmp_path, '{"é": [1, null]}'.encode(encoding))
    assert files.read_json(path) == {"é": [1, None]}


def test_malformed_text_and_json_is_refused_with_its_position(tmp_path: Path) -> None:
    with refused(tmp_path / "none", "cannot be read: No such file"):
        files.read_json(tmp_path / "none")
    with refused(tmp_path, "cannot be read: Is a directory"):
        files.read_lines(tmp_path)
    path = written(tmp_path, b"abc\xe9")
    with refused(path, "byte 3 is not UTF-8"):
        files.read_lines(path)
    path = written(tmp_path, '{"a": 1,\n "b" 2}')
    with refused(path, "line 2 column 6: not JSON"):
        files.read_json(path)
    path = written(tmp_path, "[" * 100_000)
    with refused(path, "lists or objects are nested too deep"):
        files.read_json(path)
    path = written(tmp_path, "1" * 10_000)
    with refused(path, "holds a number with too many digits"):
        files.read_json(path)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_json_round_trip(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = written(tmp_path_factory.getbasetemp(), json.dumps(value))
    assert files.read_json(path) == value


def test_fields_have_the_requested_type() -> None:
    record = {"n": 3, "x": 1.5, "name": "é😀", "flag": True, "items": [1]}
    assert files.field(record, "n", int, "f") == 3
    assert files.field(record, "x", float, "f") == 1.5
    assert isinstance(files.field(record, "n", float, "f"), float)
    assert files.field(record, "n", (int, str), "f") == 3
    assert files.field(record, "name", (int, str), "f") == "é😀"
    assert files.field(record, "flag", bool, "f") is True
    assert files.field(record, "items", list, "f") == [1]


@pytest.mark.parametrize(
    "value, kind, problem",
    [
        ("3", list, "field 'segment' is str, expected list"),
        (True, int, "field 'segment' is bool, expected int"),
        (True, float, "field 'segment' is bool, expected number"),
        (1.0, (int, str), "field 'segment' is float, expected int or str"),
        (float("nan"), float, "field 'segment' is not a finite number"),
        (-float("inf"), float, "field 'segment' is not a finite number"),
        (10**400, float, "field 'segment' is not a finite number"),
        ("a\ud800", str, "field 'segment' has half of a surrogate pair"),
    ],
)
def test_fields_of_another_type_are_refused(value: Any, kind: Any, problem: str) -> None:
    with pytest.raises(UserError, match=f"^a.json: video 3: {problem}"):
        files.field({"segment": value}, "segment", kind, "a.json: video 3")


def test_missing_fields_are_refused() -> None:
    with pytest.raises(UserError, match="^here: has no field 'segment'; expected list$"):
        files.field({"other": 1}, "segment", list, "here")
    with pytest.raises(UserError, match="^here: is list, expected an object with the field 'id'$"):
        files.field([], "id", str, "here")


# Tables


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_may_have_any_delimiter(tmp_path: Path, delimiter: str) -> None:
    text = '\ufeffkey|video id |"text"\r\n\r\n1|v1|"a, ""b""; c|\n\td"\r\n2|v2|é\r\n'
    path = written(tmp_path, text.replace("|", delimiter))
    rows = files.read_csv(path, ["text", "video id"])
    assert [row.line for row in rows] == [3, 5]
    assert rows[0].fields["text"] == f'a, "b"; c{delimiter}\n\td'
    assert rows[1].fields == {"key": "2", "video id": "v2", "text": "é"}


def test_tables_may_have_no_header(tmp_path: Path) -> None:
    path = written(tmp_path, "\n1;a\n2;b,c\n")
    rows = files.read_csv(path, ["step", "name"], header=False)
    assert rows[0] == files.Row(2, {"step": "1", "name": "a"})
    assert rows[1] == files.Row(3, {"step": "2", "name": "b,c"})
    assert files.read_csv(written(tmp_path, "\n"), ["step"], header=False) == []


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", "is empty, expected a header with 'id', 'text'"),
        ("id;words\n", "the first row has no column 'text'; its columns are 'id', 'words'"),
        ('"id,text\n', "the first row has an open quote"),
        ("id,text,id\n", "the first row has column 'id' twice"),
        ("id,text\n1,a\n\n2,b,c\n", "line 4: has 3 fields, expected 2"),
        ("id,text\n1\n", "line 2: has 1 fields, expected 2"),
        ('id,text\n1,"a\nb\n', "line 2: unexpected end of data"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = written(tmp_path, text)
    with refused(path, problem):
        files.read_csv(path, ["id", "text"])


def test_a_first_row_of_another_width_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "a,b,c\n")
    with refused(path, "the first row has 3 fields, expected 2: 'id', 'text'"):
        files.read_csv(path, ["id", "text"], header=False)


def test_damaged_text_files(tmp_path: Path) -> None:
    table = "id;text\n" + "".join(f'{i};"some ""text"", é"\n' for i in range(9))
    path = tmp_path / "file"
    assert mutation.refusals(table.encode(), path, lambda p: files.read_csv(p, ["id", "text"]))
    value = json.dumps({"a": [1.5, None, {"b": "é\n"}]}).encode()
    assert mutation.refusals(value, path, files.read_json)


# Pickles

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.binary()
_KEYS = _SCALARS | st.text()
_PLAIN = st.recursive(
    _KEYS,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(_KEYS | st.tuples(_KEYS, _KEYS), inner),
        st.sets(_KEYS),
        st.frozensets(_KEYS),
    ),
    max_leaves=20,
)


@given(_PLAIN, st.integers(0, 5))
def test_pickles_of_plain_data_are_read(value: Any, protocol: int) -> None:
    read = pickles.load(pickle.dumps(value, protocol))
    assert read == value
    assert repr(type(read)) == repr(type(value))


ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.arange(6, dtype=">i2").reshape(2, 3).T,
    np.arange(9, dtype=np.uint8)[::2],
    np.array([True, False]),
    np.array(["ab", "é😀"]),
    np.array([b"a", b"\xff\x00c"]),
    np.array([1 + 2j, np.nan]),
    np.zeros((0, 512), np.float16),
    np.array(3.5),
]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_pickles_of_arrays_are_read(tmp_path: Path, array: np.ndarray, protocol: int) -> None:
    scalar = array.flat[0] if array.size else array.dtype.type()
    again = [array, (array,)]
    value = pickle.dumps(
        {"features": array, "again": again, "kind": array.dtype, "one": scalar}, protocol
    )
    # NumPy's inner module has two names. Protocol 4 also states their lengths.
    older = re.sub(rb"numpy\._core\.(\w+)", rb"numpy.core.\1", value)
    older = older.replace(b"\x16numpy.core.m", b"\x15numpy.core.m")
    older = older.replace(b"\x13numpy.core.n", b"\x12numpy.core.n")
    assert older != value or np.__version__ < "2"
    for data in (value, older):
        read = files.read_pickle(written(tmp_path, data))
        np.testing.assert_array_equal(read["features"], array)
        assert read["features"].dtype == array.dtype == read["kind"]
        assert read["again"][0] is read["features"] is read["again"][1][0]
        assert isinstance(read["one"], array.dtype.type)


def test_a_pickle_of_python_2_is_read(tmp_path: Path) -> None:
    raw = b"\x00\x00\x80?\xe9\x00\n'"  # float32 1.0 and a value whose bytes are not ASCII
    escaped = repr(raw)[1:].encode().replace(b"\\xe9", b"\xe9")
    path = written(
        tmp_path,
        b"(dp1\nS'name'\np2\nS'caf\\xe9'\np3\nsS'array'\np4\n"
        b"cnumpy.core.multiarray\n_reconstruct\np5\n(cnumpy\nndarray\np6\n(I0\ntp7\nS'b'\np8\n"
        b"tp9\nRp10\n(I1\n(I2\ntp11\ncnumpy\ndtype\np12\n(S'f4'\np13\nI0\nI1\ntp14\nRp15\n"
        b"(I3\nS'<'\np16\nNNNI-1\nI-1\nI0\ntp17\nbI00\nS" + escaped + b"\np18\ntp19\nbsS'n'\nL5L\n"
        b"sc__builtin__\nset\n((lI1\naI2\natRV\\u00e9\n0F2.5\n0I01\n00.",
    )
    read = files.read_pickle(path)
    assert read["name"] == "café"
    assert read["n"] == 5
    assert read["array"].tobytes() == raw


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any):
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class Plain:
    pass


def global_call(module: str, name: str, argument: str) -> bytes:
    return f"c{module}\n{name}\n(V{argument}\ntR.".encode()


def hostile(trap: Path) -> dict[str, bytes]:
    """Makes pickles that would create the file `trap`, or attempt something similar."""
    command = f"touch {trap}"
    pickled = {
        "os.system": Calls(os.system, command),
        "eval": Calls(eval, f"open({str(trap)!r}, 'w')"),
        "getattr": Calls(getattr, os, "system"),
        "in a list": [1, {"a": (Calls(os.system, command),)}],
        "an object": Plain(),
        "an ordered dict": OrderedDict(a=1),
        "an array of objects": np.array([None, Calls(os.system, command)]),
        "records": np.zeros(2, [("a", "f4")]),
        "a class": int,
        "a name": len,
    }
    named = {}
    for name, value in pickled.items():
        for protocol in (0, 2, 4, 5):
            try:
                named[f"{name} {protocol}"] = pickle.dumps(value, protocol)
            except (TypeError, pickle.PicklingError):
                continue  # modules do not pickle
    reconstruct = b"cnumpy.core.multiarray\n_reconstruct\n"
    dtype = b"cnumpy\ndtype\n(S'%s'\nI0\nI1\ntR(I3\nS'|'\nNNNI%d\nI1\nI0\ntb"
    array = reconstruct + b"(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n%s%sI00\n%stb."
    floats = dtype % (b"f8", -1)
    return named | {
        "posix": global_call("posix", "system", command),
        "numpy.f2py": global_call("numpy.f2py.crackfortran", "myeval", "1"),
        "numpy load": global_call("numpy", "load", str(trap)),
        "dotted": b"\x80\x04\x8c\x05numpy\x8c\x0ctesting.run.\x93.",
        "dotted getattr": b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93.",
        "names that are no text": b"\x80\x04K\x01K\x02\x93.",
        "a long name": global_call("a" * 100_000, "b", ""),
        "other class": reconstruct + b"(cnumpy\ndtype\n(I0\ntS'b'\ntR.",
        "other module's class": reconstruct + b"(csubprocess\nPopen\n(I0\ntS'b'\ntR.",
        "instance": f"(V{command}\nios\nsystem\n.".encode(),
        "instance of a set": b"(i__builtin__\nset\n.",
        "object": b"(c__builtin__\nset\no.",
        "new object": b"\x80\x02c__builtin__\nset\n)\x81.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent id": b"Pid\n.",
        "binary persistent id": b"Vid\nQ.",
        "out of band": b"\x80\x05\x97.",
        "a bare name": b"c__builtin__\nset\n.",
        "a bare name in a list": b"]c__builtin__\nset\na.",
        "an unfinished array": reconstruct + b"(cnumpy\nndarray\n(I0\ntS'b'\ntR.",
        "an unfinished array in a list": b"]" + reconstruct + b"(cnumpy\nndarray\ntRa.",
        "called list": b"](tR.",
        "state of a list": b"](tb.",
        "set of a string's state": b"c__builtin__\nset\n)R}V__class__\nI1\nsb.",
        "state of a name": b"c__builtin__\nset\n(tb.",
        "attributes of a name": b"c_codecs\nencode\n(N}V__doc__\nI1\nstb.",
        "codec": b"c_codecs\nencode\n(V00\nVhex\ntR.",
        "a giant shape": array % (b"(L1000000000000L\nL1000000L\nt", floats, b"S''\n"),
        "a negative shape": array % (b"(I-1\nI-1\nt", floats, b"S'12345678'\n"),
        "a giant empty shape": array % (b"(I0\nL%d\nt" % 2**70, floats, b"S''\n"),
        "many dimensions": array % (b"(" + b"I1\n" * 65 + b"t", floats, b"S'12345678'\n"),
        "no itemsize": array % (b"(I9\nt", dtype % (b"S0", 0), b"S''\n"),
        "a string with no data": array % (b"(I1\nt", dtype % (b"U99999999", 8), b"S'a'\n"),
        "characters that do not exist": array % (b"(I1\nt", dtype % (b"U1", 4), b"S'abcd'\n"),
        "void": array % (b"(I1\nt", dtype % (b"V4", 4), b"S'abcd'\n"),
        "objects": array % (b"(I1\nt", dtype % (b"O8", 8), b"(lNa"),
        "object scalar": b"cnumpy.core.multiarray\nscalar\n(" + dtype % (b"O8", 8) + b"S''\ntR.",
        "giant memo": b"\x80\x02Nr\xff\xff\xff\xffj\x00\x00\x00\x00.",
        "giant string": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"a.",
        "giant bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"a.",
        "giant bytes": b"\x80\x03B\xff\xff\xff\xffa.",
        "negative size": b"T\xff\xff\xff\xffa.",
        "negative long": b"\x8b\xff\xff\xff\xffa.",
        "many digits": b"L" + b"9" * 10_000 + b"L\n.",
        "deep key": b"}" + b"(" * 9 + b"t" * 9 + b"I1\ns.",
        "a list as a key": b"}]I1\ns.",
        "many sets": b"(" + b"".join(b"K%c" % i for i in range(256)) + b"lq\x000"
        b"(" + b"c__builtin__\nset\nq\x010" + b"h\x01h\x00\x85R" * 900 + b"l.",
        "empty": b"",
        "nothing": b".",
        "a mark alone": b"(.",
        "pop": b"0.",
        "odd items": b"(I1\nd.",
        "no memo": b"h\x05.",
        "short tuple": b"N\x86.",
        "unknown opcode": b"\xfe.",
        "text": b"video_id,text\n",
    }


def test_hostile_pickles_are_refused_and_run_nothing(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    cases = hostile(trap)
    assert len(cases) > 70
    loaded = set(sys.modules)
    for name, data in cases.items():
        path = written(tmp_path, data)
        with pytest.raises(UserError) as caught:
            pytest.fail(f"{name}: read {files.read_pickle(path)!r}")
        assert str(caught.value).startswith(f"{path}: byte "), name
        assert "\n" not in str(caught.value) and len(str(caught.value)) < len(str(path)) + 250
        assert not trap.exists(), name
    assert set(sys.modules) == loaded
    # The standard unpickler falls into the trap, so these pickles are not harmless.
    pickle.loads(cases["in a list 4"])
    assert trap.exists()


def test_hostile_pickles_take_little_memory(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        for name, data in hostile(tmp_path / "trap").items():
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            with pytest.raises(pickles.BadPickle):
                pickles.load(data)
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before < 100_000 + 100 * len(data), name
    finally:
        tracemalloc.stop()


def test_refusals_say_what_was_refused(tmp_path: Path) -> None:
    path = written(tmp_path, pickle.dumps(Calls(os.system, "true")))
    with refused(path, f"byte 29: holds '{os.system.__module__}.system', expected plain data") as e:
        files.read_pickle(path)
    assert str(e.value).endswith("nothing was executed")
    path = written(tmp_path, pickle.dumps(np.array([None])))
    with pytest.raises(UserError, match="holds NumPy values of dtype 'O8', expected numbers or"):
        files.read_pickle(path)
    path = written(tmp_path, pickle.dumps([1, 2])[:-1])
    with refused(path, "byte 19: the pickle is cut off"):
        files.read_pickle(path)


def test_other_formats_may_define_names_and_persistent_ids() -> None:
    """A reader defines names and ids. All others are still refused."""
    shape = {
        ("some.format", "shape"): lambda *sizes: sizes,
        ("some.format", "one"): 1,
    }
    named = {**shape, ("some.format", "Options"): pickles.OBJECT, ("some.format", "Ordered"): dict}

    def read(data: bytes) -> Any:
        return pickles.read(io.BytesIO(data), named, lambda pid: {"id": pid})

    assert read(b"csome.format\nshape\n(I1\nI2\ntR.") == (1, 2)
    assert read(b"csome.format\none\n.") == 1
    assert read(b"Pa\n.") == read(b"Va\nQ.") == {"id": "a"}
    options = b"csome.format\nOptions\n)\x81"
    assert read(options + b".") == {}
    assert read(b"\x80\x02" + options + b"q\x00}Va\nh\x00sbh\x00\x86.")[0]["a"]["a"] is not None
    assert read(b"csome.format\nOrdered\n)RVa\nI1\ns}Vnotes\nI2\nsb.") == {"a": 1}
    for data in (
        *(b"csome.format\nother\n.", b"cposix\nsystem\n.", b"csome.format\nshape\n."),
        *(b"csome.format\nOptions\n.", b"csome.format\nOptions\n)R.", options + b"I1\nb."),
        *(b"csome.format\nOptions\n(I1\nt\x81.", b"csome.format\nshape\n)\x81.", options + b"lb."),
        *(b"csome.format\nshape\n}b.", b"csome.format\none\n)R.", b"Pa\nI1\nQ0N\x81."),
    ):
        with pytest.raises(pickles.BadPickle, match="^byte "):
            pytest.fail(f"{data!r}: read {read(data)!r}")


def test_consecutive_pickles_are_read() -> None:
    file = io.BytesIO(b"".join(pickle.dumps(i, protocol) for i, protocol in enumerate((0, 2, 5))))
    assert [pickles.read(file) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(pickles.BadPickle, match=f"byte {file.tell()}: the pickle is cut off"):
        pickles.read(file)


def test_deep_nesting_is_harmless() -> None:
    depth = 200_000
    value = pickles.load(b"]" * depth + b"a" * (depth - 1) + b".")
    for _ in range(depth - 1):
        (value,) = value
    assert value == []
    with pytest.raises(pickles.BadPickle, match="holds a tuple in a key"):
        pickles.load(b"}" + b")" + b"\x85" * depth + b"Ns.")


@pytest.mark.parametrize("protocol", range(6))
def test_damaged_pickles(tmp_path: Path, protocol: int) -> None:
    value = {"a": [1.5, None, "é", {1, 2}], "b": ARRAYS[:5], ("c", 1): np.float32(3)}
    data = pickle.dumps(value, protocol)
    assert mutation.refusals(data, tmp_path / "file", files.read_pickle)


# Arrays


def npy(folder: Path, array: np.ndarray) -> Path:
    np.save(folder / "file.npy", array)
    return folder / "file.npy"


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_array_files_are_read(tmp_path: Path, array: np.ndarray) -> None:
    read = files.read_array(npy(tmp_path, array))
    np.testing.assert_array_equal(read, array)
    assert type(read) is np.ndarray


def test_malformed_array_files_are_refused(tmp_path: Path) -> None:
    path = npy(tmp_path, np.ones((4, 8)))
    complete = path.read_bytes()
    problem = "is not a complete .npy file of numbers"
    giant = complete.replace(b"(4, 8), }" + b" " * 9, b"(4000000000, 8), }")
    assert len(giant) == len(complete) and giant != complete
    for data in (b"", complete[:-1], complete[:40], giant, pickle.dumps(1), b"PK\x03\x04"):
        path.write_bytes(data)
        with refused(path, problem):
            files.read_array(path)
    np.save(path, np.array([Plain()]), allow_pickle=True)
    with refused(path, problem):
        files.read_array(path)
    with refused(tmp_path / "none", "cannot be read: No such file"):
        files.read_array(tmp_path / "none")


@pytest.mark.filterwarnings("ignore::UserWarning")  # headers that look like those of Python 2
def test_damaged_array_files(tmp_path: Path) -> None:
    data = npy(tmp_path, np.ones((2, 3), np.float32)).read_bytes()
    assert mutation.refusals(data, tmp_path / "file.npy", files.read_array, 600)


def test_features_become_float16() -> None:
    values = np.asfortranarray(np.linspace(-3, 3, 12).reshape(3, 4))
    features = files.check_features("f", values, 4)
    assert features.dtype == np.float16 and features.flags.c_contiguous
    np.testing.assert_array_equal(features, values.astype(np.float16))


def test_other_features_are_refused() -> None:
    good = np.ones((3, 4), np.float32)
    nan, large = good.copy(), good.copy()
    nan[1, 2], large[2, 0] = np.nan, -70000
    for values, problem in (
        (good[0], r"have shape \(4,\), expected \[rows, 4\]"),
        (good[:, :3], r"have shape \(3, 3\), expected \[rows, 4\]"),
        (good[:0], r"have shape \(0, 4\), expected .* at least one row"),
        (good.astype(np.int64), "are int64, expected floats"),
        (nan, "of row 1 are not finite"),
        (large, "of row 2 are beyond 65504"),
    ):
        with pytest.raises(UserError, match=f"^a.npy: features {problem}"):
            files.check_features("a.npy", values, 4)
