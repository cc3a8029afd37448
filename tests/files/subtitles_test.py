"""Subtitles in three formats are read as they occur in practice."""

import json
import re
from pathlib import Path
from typing import Any

import mutation
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtmask.datasets import captions
from vtmask.errors import UserError
from vtmask.files import subtitles
from vtmask.files.subtitles import Caption

SRT = """1
00:00:01,500 --> 00:00:03.25
<i>now</i> we
are {\\an8}going

2
00:00:03,250 --> 01:00:04,000 X1:1 Y2:2
to cut <font color="red">the</font> onion &amp; a < b

"""
VTT = """WEBVTT - a title
Kind: captions

STYLE
::cue { color: red }

REGION
id:fred

NOTE one --> two
three

00:01.500 --> 00:03.250 align:start position:0%
 
now<00:00:02.000><c.colorE5E5E5> we</c>

the second
00:00:03.250 --> 01:00:04.000
<v Bob>to cut &lt;the&gt; onion&nbsp;now</v>
"""


def read(folder: Path, name: str, data: str | bytes) -> list[Caption]:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return subtitles.read(path).captions


FROM_SRT = [(1.5, 3.25, "now we are going"), (3.25, 3604, "to cut the onion & a < b")]
FROM_VTT = [(1.5, 3.25, "now we"), (3.25, 3604, "to cut <the> onion now")]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_and_line_endings(tmp_path: Path, newline: str, encoding: str) -> None:
    for name, text, expected in (("a.srt", SRT, FROM_SRT), ("a.VTT", VTT, FROM_VTT)):
        assert read(tmp_path, name, text.replace("\n", newline).encode(encoding)) == expected


def test_srt_without_blank_lines_or_counters(tmp_path: Path) -> None:
    assert read(tmp_path, "a.srt", re.sub("\n+", "\n", SRT)) == FROM_SRT
    assert read(tmp_path, "a.srt", re.sub(r"(?m)^\d\n", "", SRT)) == FROM_SRT
    assert read(tmp_path, "a.srt", "") == []


def test_spoken_numbers_are_kept(tmp_path: Path) -> None:
    text = "1\n00:01,0 --> 00:02,0\n42\n\n2\n00:03,0 --> 00:04,0\n7\n\n8\n"
    assert read(tmp_path, "a.srt", text) == [(1, 2, "42"), (3, 4, "7 8")]


def test_vtt_without_blank_lines(tmp_path: Path) -> None:
    text = "WEBVTT\n\n1\n00:01.0 --> 00:02.0\na\n2\n00:03.0 --> 00:04.0\nb"
    assert read(tmp_path, "a.vtt", text) == [(1, 2, "a"), (3, 4, "b")]
    assert read(tmp_path, "a.vtt", "WEBVTT") == []


def test_empty_captions_are_kept_to_be_counted(tmp_path: Path) -> None:
    actual = read(tmp_path, "a.vtt", "WEBVTT\n\n00:01.0 --> 00:02.0\n\n00:05.0 --> 00:03.0\n \nb")
    assert actual == [(1, 2, ""), (5, 3, "b")]
    assert captions.clean(actual, 9)[1].total() == 2


def test_the_published_rule_unrolls_rolling_captions(tmp_path: Path) -> None:
    lines = ["chop it well", "so very fine", "put oil in", "a hot pan"]
    text = "WEBVTT\n"
    for i, line in enumerate(lines):
        above = lines[i - 1] if i else " "
        start, _, word = line.partition(" ")
        text += f"\n00:0{2 * i}.000 --> 00:0{2 * i + 1}.990\n{above}\n{start}<c> {word}</c>\n"
        text += f"\n00:0{2 * i + 1}.990 --> 00:0{2 * i + 2}.000\n{line}\n \n"
    for toss in (bool, lambda: True):  # bool() is False
        rolled = captions.deduplicate(read(tmp_path, "a.vtt", text), toss)
        words = [word for caption in rolled for word in caption.text.split()]
        assert words == " ".join(lines).split()


FORMS = {
    "objects": [{"start": 1.5, "end": 3, "text": "a  b\n"}, {"start": 3, "end": 4, "text": "c"}],
    "columns": {"start": [1.5, 3], "end": [3, 4], "text": ["a b", "c"], "more": 1},
    "segments": {
        "text": "a b c",
        "segments": [
            {"id": 0, "start": 1.5, "end": 3.0, "text": " a b"},
            {"id": 1, "start": 3.0, "end": 4.0, "text": " c"},
        ],
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_json_of_each_form_is_read(tmp_path: Path, form: str) -> None:
    assert read(tmp_path, "a.json", json.dumps(FORMS[form])) == [(1.5, 3, "a b"), (3, 4, "c")]


def test_null_texts_are_read_as_empty() -> None:
    value = {"start": [1, 2, 3], "end": [2, 3, 4], "text": [None, float("nan"), "a"]}
    assert [text for _, _, text in subtitles.from_json(value, "here").captions] == ["", "", "a"]


@pytest.mark.parametrize(
    "name, data, problem",
    [
        ("a.txt", "", "suffix is '.txt', expected .srt or .vtt or .json"),
        ("a.srt", b"1\n\xe9", "byte 2 is not UTF-8"),
        ("a.srt", "hello\n", "line 1: is 'hello', expected times such as"),
        ("a.srt", "1\n00:00:01,0 --> soon\na", "line 2: times are '00:00:01,0 --> soon'"),
        ("a.vtt", SRT, "line 1: expected WEBVTT"),
        ("a.vtt", "WEBVTT\n\nlost\nwords\n", "line 3: is 'lost', expected times"),
        ("a.vtt", "WEBVTT\n\n1.5 --> 00:03.250\na", "line 3: times are '1.5 --> 00:03"),
        ("a.json", "[1]", "caption 0: is int, expected an object with the field 'start'"),
        ("a.json", '[{"start": 1}]', "caption 0: has no field 'end'; expected number"),
        ("a.json", '[{"start": 1, "end": "2"}]', "caption 0: field 'end' is str, expected number"),
        ("a.json", '[{"start": NaN, "end": 2}]', "caption 0: field 'start' is not a finite number"),
        ("a.json", '[{"start": 1, "end": 2}]', "caption 0: has no field 'text'; expected str"),
        ("a.json", '{"segments": {}}', "field 'segments' is dict, expected list"),
        ("a.json", "3", "is int, expected an object with the field 'start'"),
        (
            "a.json",
            '{"start": [1], "end": [1, 2], "text": [""]}',
            "has 1 of 'start', 2 of 'end', 1 of 'text', expected equal numbers",
        ),
    ],
)
def test_malformed_files_are_refused(tmp_path: Path, name: str, data: Any, problem: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(f'{tmp_path / name}: {problem}')}"):
        read(tmp_path, name, data)


_WORDS = st.text(st.characters(categories=["L"]), min_size=1, max_size=5)
_MILLISECONDS = st.integers(0, 10**8)
_TEXTS = st.lists(st.lists(_WORDS, min_size=1, max_size=3).map(" ".join), min_size=1, max_size=2)


def stamp(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{rest:03}"


@given(st.lists(st.tuples(_MILLISECONDS, _MILLISECONDS, _TEXTS), max_size=4))
def test_round_trips(
    tmp_path_factory: pytest.TempPathFactory, captions: list[tuple[int, int, list[str]]]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    expected = [(start / 1000, end / 1000, " ".join(lines)) for start, end, lines in captions]
    cues = {
        point: [
            f"{i}\n{stamp(start, point)} --> {stamp(end, point)}\n" + "\n".join(lines)
            for i, (start, end, lines) in enumerate(captions, 1)
        ]
        for point in ",."
    }
    assert read(folder, "a.srt", "\n\n".join(cues[","])) == expected
    assert read(folder, "a.vtt", "\n\n".join(["WEBVTT", *cues["."]])) == expected
    objects = [dict(zip(Caption._fields, row, strict=True)) for row in expected]
    assert read(folder, "a.json", json.dumps(objects)) == expected


@pytest.mark.parametrize(
    "name, text", [("a.srt", SRT), ("a.vtt", VTT), ("a.json", json.dumps(FORMS["segments"]))]
)
def test_damaged_files(tmp_path: Path, name: str, text: str) -> None:
    assert mutation.refusals(text.encode(), tmp_path / name, subtitles.read)
