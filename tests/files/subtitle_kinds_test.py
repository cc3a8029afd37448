"""Other tools' JSON, Advanced SubStation Alpha, SBV and timed lyrics are read."""

import json
import re
from pathlib import Path
from typing import Any

import mutation
import pytest

from vtmask.errors import UserError
from vtmask.files import subtitles

CAPTIONS = [(1.5, 3, "a b"), (3, 4, "c")]
FORMS = {
    "chunks of transformers": {
        "text": " a b c",
        "chunks": [
            {"timestamp": [1.5, 3.0], "text": " a b"},
            {"timestamp": [3.0, 4.0], "text": " c"},
        ],
    },
    "a list of chunks": [
        {"timestamp": [1.5, 3.0], "text": "a b"},
        {"timestamp": [3.0, 4.0], "text": "c"},
    ],
    "durations": [
        {"text": "a\nb", "start": 1.5, "duration": 1.5},
        {"text": "c", "start": 3, "dur": 1},
    ],
    "whisper.cpp": {
        "systeminfo": "AVX = 1",
        "transcription": [
            {
                "timestamps": {"from": "00:00:01,500", "to": "00:00:03,000"},
                "offsets": {"from": 1500, "to": 3000},
                "text": " a b",
            },
            {"offsets": {"from": 3000, "to": 4000}, "text": " c"},
        ],
    },
    "json3 of YouTube": {
        "wireMagic": "pb3",
        "events": [
            {"tStartMs": 0, "dDurationMs": 9000, "id": 1, "wpWinPosId": 1},
            {
                "tStartMs": 1500,
                "dDurationMs": 1500,
                "segs": [{"utf8": "a"}, {"utf8": " b", "tOffsetMs": 300}],
            },
            {"tStartMs": 2990, "dDurationMs": 10, "aAppend": 1, "segs": [{"utf8": "\n"}]},
            {"tStartMs": 3000, "dDurationMs": 1000, "segs": [{"utf8": "c"}]},
        ],
    },
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["a.json", "a.json3"])
def test_json_of_other_tools_is_read(tmp_path: Path, form: str, name: str) -> None:
    (tmp_path / name).write_text(json.dumps(FORMS[form]))
    assert subtitles.read(tmp_path / name) == (CAPTIONS, {})


@pytest.mark.parametrize("form", ["chunks", "segments"])
def test_an_open_end_is_closed(form: str) -> None:
    ends = [None, 4.0, None]
    keys = ("timestamp",) if form == "chunks" else ("start", "end")
    items = []
    for start, end in enumerate(ends, 1):
        times: tuple[Any, ...] = ([start, end],) if form == "chunks" else (start, end)
        items.append(dict(zip(keys, times, strict=True)) | {"text": str(start)})
    captions, problems = subtitles.from_json({form: items}, "here")
    assert captions[:2] == [(1, 2, "1"), (2, 4, "2")]
    assert captions[2].start == 3 and captions[2].end > 100 * 3600  # cleaning cuts it
    assert problems == {"caption without an end, given one": 2}


@pytest.mark.parametrize(
    "bad",
    [
        *(7, None, {}, {"start": 1}, {"start": 1, "end": "2", "text": "x"}),
        *({"start": float("nan"), "end": 2, "text": "x"}, {"start": 1, "end": 2, "text": ["x"]}),
        *({"timestamp": [1], "text": "x"}, {"timestamp": [None, 2], "text": "x"}),
        *({"offsets": {"from": 1}, "text": "x"}, {"offsets": 1, "text": "x"}),
        *({"tStartMs": 1, "segs": [{"utf8": "x"}]}, {"tStartMs": 1, "dDurationMs": 1, "segs": [1]}),
        {"start": 1, "duration": None, "text": "x"},
    ],
)
def test_a_bad_caption_drops_no_other(bad: Any) -> None:
    good = {"start": 3, "end": 4, "text": "c"}
    problems = {"caption with unreadable times or text, dropped": 1}
    for key in ("segments", "chunks", "transcription", "events"):
        value = {key: [bad, good]}
        assert subtitles.from_json(value, "here") == ([(3, 4, "c")], problems)


@pytest.mark.parametrize(
    "value", [{"url": "https://x", "caption": "a cook"}, {}, {"results": []}, {"key": None}]
)
def test_the_error_of_json_without_captions_lists_the_supported_forms(value: Any) -> None:
    with pytest.raises(UserError, match="^here: holds no captions; expected .*'transcription'"):
        subtitles.from_json(value, "here")


ASS = r"""[Script Info]
Title: one
[V4+ Styles]
Format: Name, Fontname
Style: Default,Arial
[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Comment: 0,0:00:00.00,0:00:09.00,Default,,0,0,0,,a remark
Dialogue: 0,0:00:01.50,0:00:03.00,Default,,0,0,0,,{\an8}{\i1}a{\i0}\N b, then, more
Dialogue: 0,0:00:03.00,1:00:04.05,Default,Bob,0,0,0,,c\hd
"""
ASS_CAPTIONS = [(1.5, 3, "a b, then, more"), (3, 3604.05, "c d")]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_ass(tmp_path: Path, newline: str) -> None:
    (tmp_path / "a.ass").write_text(ASS, encoding="utf-8-sig", newline=newline)
    assert subtitles.read(tmp_path / "a.ass") == (ASS_CAPTIONS, {})
    text = "[Events]\nFormat: Text, End, Start\nDialogue: a,0:00:02.00,0:00:01.00\n"
    (tmp_path / "a.ssa").write_text(text)  # text is last everywhere, times need not be first
    assert subtitles.read(tmp_path / "a.ssa") == ([(1, 2, "a")], {})


def test_ass_with_bad_lines_and_drawings(tmp_path: Path) -> None:
    text = ASS + "Dialogue: 0,soon,0:00:09.00,Default,,0,0,0,,x\nDialogue: 0,0:00:01.00\n"
    text += "Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,{\\p1}m 0 0 l 9 9{\\p0}\n"
    (tmp_path / "a.ass").write_text(text)
    problems = {"cue with unreadable times, dropped": 2, "drawing, dropped": 1}
    assert subtitles.read(tmp_path / "a.ass") == (ASS_CAPTIONS, problems)


SBV = "0:00:01.500,0:00:03.000\na\nb\n\n0:00:03.000,1:00:04.000\nc[br]d\n"


def test_sbv(tmp_path: Path) -> None:
    (tmp_path / "a.sbv").write_text(SBV)
    assert subtitles.read(tmp_path / "a.sbv") == ([(1.5, 3, "a b"), (3, 3604, "c d")], {})


LRC = """[ti:a song]
[offset:+500]

[00:12.00]first
[01:02.50] <01:02.60>second <01:03.00>line
[00:20.00]
[00:30.00][02:00.5]again
[00:30.00]and at once
lost
"""


def test_lrc(tmp_path: Path) -> None:
    (tmp_path / "a.lrc").write_text(LRC)
    captions, problems = subtitles.read(tmp_path / "a.lrc")
    assert captions[:4] == [
        (11.5, 19.5, "first"),
        (29.5, 62, "again"),
        (29.5, 62, "and at once"),
        (62, 120, "second line"),
    ]
    assert captions[4][::2] == (120, "again") and captions[4].end > 100 * 3600
    assert problems == {
        "text without times, dropped": 1,
        "caption without an end, given one": 1,
    }


@pytest.mark.parametrize(
    "name, text, problem",
    [
        ("a.ass", "hello", "line 1: expected a section [Events]"),
        ("a.ass", "[Events]\nDialogue: 0,soon", "line 2: is 'Dialogue: 0,soon', expected Dia"),
        ("a.sbv", "hello", "line 1: is 'hello', expected times"),
        ("a.lrc", "[ar:x]\nhello", "line 2: is 'hello', expected [00:12.50] text"),
    ],
)
def test_malformed_files_are_refused(tmp_path: Path, name: str, text: str, problem: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=f"^{re.escape(f'{tmp_path / name}: {problem}')}"):
        subtitles.read(tmp_path / name)


@pytest.mark.parametrize("name", ["a.ass", "a.sbv", "a.lrc", "a.json3"])
def test_damaged_files(tmp_path: Path, name: str) -> None:
    texts = {"a.ass": ASS, "a.sbv": SBV, "a.lrc": LRC}
    text = texts.get(name, json.dumps(FORMS["json3 of YouTube"]))
    assert mutation.refusals(text.encode(), tmp_path / name, subtitles.read)
