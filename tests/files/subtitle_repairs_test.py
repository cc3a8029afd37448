"""A bad cue is dropped or repaired and counted, and affects no other cue."""

from pathlib import Path

import mutation
import numpy as np
import pytest

from vtmask.errors import UserError
from vtmask.files import subtitles
from vtmask.files.subtitles import Caption, Subtitles

BAD_TIMES = "cue with unreadable times, dropped"
ARROW = "arrow other than -->, read as one"
ARROW_TEXT = "--> without times, kept as text"
BESIDE = "text beside the times of a cue, kept"
LONE_NUMBER = "cue number without a cue, dropped"
BLANK_LINE = "empty line in a cue, its text joined"
NO_TIMES = "text without times, dropped"


def read(folder: Path, name: str, data: str) -> Subtitles:
    path = folder / name
    path.write_bytes(data.encode())
    return subtitles.read(path)


FIELD = {
    "header_timing.vtt": ([(0, 1, "first"), (2, 3, "second")], {}),
    "hls_header.vtt": ([(0, 1, "first"), (2, 3, "second")], {}),
    "crcrlf.srt": ([(1, 2, "flip the cake"), (3, 4, "stir it"), (5, 6, "done")], {}),
    "blank_after_counter.srt": ([(1, 2, "flip"), (3, 4, "stir")], {BLANK_LINE: 2}),
    "v01_blank_in_cue.vtt": (
        [(1, 2, "flip the cake"), (3, 5, "pour the milk and stir"), (6, 7, "done")],
        {BLANK_LINE: 1},
    ),
    "v07_style_blank_inside.vtt": ([(1, 2, "hi")], {NO_TIMES: 1}),
    "v22_trailing_ident.vtt": ([(1, 2, "hi")], {LONE_NUMBER: 1}),
    "s01_negative.srt": ([(-1, 1, "hi"), (2, 3, "you")], {}),  # cleaning cuts and counts it
    "s13_arrow_text.srt": (
        [(1, 2, "turn it from left --> right"), (3, 4, "stir")],
        {ARROW_TEXT: 1},
    ),
    "s18_sec60.srt": (
        [(59.5, 60, "hi"), (61, 62, "you")],
        {"time of 60 seconds or minutes, carried over": 1},
    ),
    "s22_leading_ad.srt": ([(1, 2, "hi")], {NO_TIMES: 1}),
    "s33_counter_hash.srt": (
        [(1, 2, "hi"), (3, 4, "you")],
        {"cue number with #, read as a number": 2},
    ),
}


@pytest.mark.parametrize("name", FIELD)
def test_files_from_the_field_are_read(reference_dir: Path, name: str) -> None:
    assert subtitles.read(reference_dir / "field/subtitles" / name) == FIELD[name]


def test_every_file_from_the_field_is_tested(reference_dir: Path) -> None:
    assert {path.name for path in (reference_dir / "field/subtitles").iterdir()} == set(FIELD)


A, B = "00:01.000 --> 00:02.000", "00:03.000 --> 00:04.000"


@pytest.mark.parametrize(
    "text, first, second, problems",
    [
        (f"WEBVTT\n{A}\na\n\n{B}\nb", "a", "b", {}),
        (f"WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00.000\n{A}\na\n{B}\nb", "a", "b", {}),
        (f"WEBVTT title\n1\n{A}\na\n\n2\n{B}\nb", "a", "b", {}),
        (f"WEBVTT\n\n{A}\na\n\n{B}\n\nb c\nd\n", "a", "b c d", {BLANK_LINE: 1}),
        (f"WEBVTT\n\n{A}\n\na\n\nb\n\nname\n{B}\nc", "a b", "c", {BLANK_LINE: 1}),
        (f"WEBVTT\n\n{A}\n\nNOTE c\nd\n\n{B}\nb", "", "b", {}),
        (f"WEBVTT\n\n{A}\na\n\nlost\nwords\n\n{B}\nb", "a", "b", {NO_TIMES: 1}),
        (f"WEBVTT\n\nlost\n\n{A}\na\n\n{B}\nb\n\nlost", "a", "b", {NO_TIMES: 2}),
        (f"WEBVTT\n\nSTYLE\na {{\n\n}}\n\n{A}\na\n\n{B}\nb", "a", "b", {NO_TIMES: 1}),
        (f"WEBVTT\n\nNOTE\n{A}\na\n\nNOTE x --> y\n\n{B}\nb", "a", "b", {}),
        (f"WEBVTT\n\n{A}\na\n  \nNOTE c\nd\n  \n{B}\nb", "a", "b", {}),
        (f"\nWEBVTT\n\n{A}\na\n\n{B}\nb", "a", "b", {}),
        (f"WEBVTT\n\n{A}\n \nsaid here\n{B}\nb<br>c", "said here", "b c", {}),
        (f"WEBVTT\n\n{A} align\n\n{B}\nb", "", "b", {}),
        (f"WEBVTT\n\n{A}\n42\n\n7\n{B}\nb", "42", "b", {}),
        (f"WEBVTT\n\n1\n\n{A}\na\n\n2\n\n{B}\nb\n\n3", "a", "b", {LONE_NUMBER: 1}),
        # As Netflix writes it, with lines of spaces between the blocks.
        (
            "WEBVTT\n  \nNOTE Profile: webvtt-lssdh-ios8\nNOTE Date: 2020\n \nNOTE /Segment\n   \n"
            f"1\n{A} position:50.00%,middle\n<c.white><c.mono_sans>a</c></c>\n  \n2\n{B}\nb\n  \n",
            *("a", "b", {}),
        ),
    ],
)  # fmt: skip
def test_webvtt_is_repaired(
    tmp_path: Path, text: str, first: str, second: str, problems: dict[str, int]
) -> None:
    expected = [(1, 2, first), (3, 4, second)]
    for newline in ("\n", "\r\n", "\r\r\n", "\r"):
        actual = read(tmp_path, "a.vtt", text.replace("\n", newline))
        assert actual == (expected, problems), repr(newline)


C, D = "00:00:01,000 --> 00:00:02,000", "00:00:03,000 --> 00:00:04,000"


@pytest.mark.parametrize(
    "text, first, second, problems",
    [
        (f"1\n\n{C}\n\na\n\n2\n\n{D}\n\nb\n\n", "a", "b", {BLANK_LINE: 2}),
        (f"1\n\n{C}\na\n\n4\n\n{D}\nb", "a", "b", {}),
        (f"1\n{C}\na\n\n2\n\n{D}\nb", "a", "b", {}),
        (f"1\n{C}\nflip\n2\n\n2\n{D}\nb", "flip 2", "b", {}),
        (f"1\n{C}\n12\n\n2\n{D}\n3", "12", "3", {}),
        (f"1\n{C}\na\n\nb\n\n2\n{D}\nb", "a b", "b", {BLANK_LINE: 1}),
        (f"{C}\n42\n{D}\nb", "42", "b", {}),
        (f"{C}\ntake\n42\n{D}\nb", "take 42", "b", {}),
        (f"1\n{C}\n2\n{D}\nb", "", "b", {}),
        (f"an ad\n\n1\n{C}\na\n\n2\n{D}\nb", "a", "b", {NO_TIMES: 1}),
        (f"#1\n{C}\na\n\n# 2\n{D}\nb", "a", "b", {"cue number with #, read as a number": 2}),
        (f"1\n{C}\na\n\n2\n{D}\nb\n\n3\n", "a", "b", {LONE_NUMBER: 1}),
        (f"1\n{C}\na\nx --> y\n\n2\n{D}\nb", "a x --> y", "b", {ARROW_TEXT: 1}),
        (f"1\n{C.replace('-->', '->')}\na\n\n2\n{D}\nb", "a", "b", {ARROW: 1}),
        (f"1\n{C} said here\n\n2\n{D} X1:1\nb\\Nc", "said here", "b c", {BESIDE: 1}),
        (f"1\n{C.replace(':', ': ')}\na\n\n2\n{D}\nb", "a", "b", {}),
        (f"WEBVTT\n\n{A}\na\n\nNOTE no\n\n{B}\nb", "a", "b", {}),  # despite its suffix
    ],
)  # fmt: skip
def test_subrip_is_repaired(
    tmp_path: Path, text: str, first: str, second: str, problems: dict[str, int]
) -> None:
    expected = [(1, 2, first), (3, 4, second)]
    for newline in ("\n", "\r\n", "\r\r\n", "\r"):
        actual = read(tmp_path, "a.srt", text.replace("\n", newline))
        assert actual == (expected, problems), repr(newline)


@pytest.mark.parametrize(
    "times",
    [
        *("00:00:05,000 --> soon", "--> 00:00:06,000", "00:00:05,000 -->", "1.5 --> 00:00:06,000"),
        *("00:61:05,000 --> 00:62:00,000", "00:00:0x,000 --> 00:00:06,000", "left --> right"),
    ],
)
def test_a_cue_without_times_is_dropped_with_its_text(tmp_path: Path, times: str) -> None:
    expected = [(1, 2, "a"), (3, 4, "b")], {BAD_TIMES: 1}
    text = f"1\n{C}\na\n\n2\n{times}\nlost\nwords\n\n3\n{D}\nb\n"
    assert read(tmp_path, "a.srt", text) == expected
    assert read(tmp_path, "a.vtt", "WEBVTT\n\n" + text) == expected


def test_sixty_seconds_and_negative_times_are_read(tmp_path: Path) -> None:
    text = "1\n-00:00:01,500 --> 00:60:60,000\na"
    problems = {"time of 60 seconds or minutes, carried over": 1}
    assert read(tmp_path, "a.srt", text) == ([(-1.5, 3660, "a")], problems)


def test_a_file_without_any_good_cue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a.vtt: line 3: times are '00:05.000 --> soon', expected"):
        read(tmp_path, "a.vtt", "WEBVTT\n\n00:05.000 --> soon\na\n\n00:07.000 --> later\nb")


@pytest.mark.parametrize("suffix", ["srt", "vtt"])
def test_damage_in_one_cue_affects_only_its_neighbours(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    cues = [
        f"{i}\n00:{i:02}:01.000 --> 00:{i:02}:02.000\n<i>word</i> of\n{'abcdefghi'[i - 1]}\n\n"
        for i in range(1, 10)
    ]
    path = tmp_path / f"a.{suffix}"
    for number in range(600):
        which = number % len(cues)
        damaged = mutation.damaged(rng, cues[which].encode()).decode(errors="replace")
        parts = [*cues[:which], damaged, *cues[which + 1 :]]
        path.write_text(("WEBVTT\n\n" if suffix == "vtt" else "") + "".join(parts), newline="")
        actual = subtitles.read(path).captions
        for i in {*range(1, 10)} - {which, which + 1, which + 2}:
            assert Caption(60 * i + 1, 60 * i + 2, f"word of {'abcdefghi'[i - 1]}") in actual, parts
