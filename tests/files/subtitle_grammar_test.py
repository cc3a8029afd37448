"""Subtitle files are generated from a grammar, which knows the right result of each cue.

The result is a caption or none, and the expected counts. Files have all kinds of line endings,
numbering and headers, comments between cues and faults in cues.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtmask.datasets import captions
from vtmask.errors import UserError
from vtmask.files import subtitles

_LETTERS = st.characters(categories=["Ll", "Lo"], exclude_characters="İ")
_WORDS = st.text(_LETTERS, min_size=1, max_size=5)
_LINES = st.lists(_WORDS, min_size=1, max_size=3).map(" ".join)
_TEXTS = st.lists(_LINES, min_size=1, max_size=3)
_MILLISECONDS = st.integers(0, 10**8)


@dataclass(frozen=True)
class Cue:
    """A cue as written, and the expected result.

    Attributes:
      caption: start, end and text, or None for a cue that is dropped.
    """

    times: str
    body: str
    caption: tuple[float, float, str] | None
    problem: str = ""


def stamp(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{rest:03}"


@st.composite
def complete(draw: st.DrawFn, point: str) -> Cue:
    start, end, lines = draw(_MILLISECONDS), draw(_MILLISECONDS), draw(_TEXTS)
    tag = draw(st.sampled_from(["{}", "<i>{}</i>", "<c.red>{}", '<font color="#ffffff">{}</font>']))
    settings = draw(st.sampled_from(["", " ", " align:start position:0%", " X1:1 X2:9"]))
    times = f"{stamp(start, point)} --> {stamp(end, point)}{settings}"
    body = "\n".join([tag.format(lines[0]), *lines[1:]])
    return Cue(times, body, (start / 1000, end / 1000, " ".join(lines)))


@st.composite
def dropped(draw: st.DrawFn, point: str) -> Cue:
    good = draw(complete(point))
    right = stamp(draw(_MILLISECONDS), point)
    times = draw(
        st.sampled_from(
            [f"{right} --> soon", f"{right} -->", f"--> {right}", f"00:99:00{point}0 --> {right}"]
        )
    )
    return Cue(times, good.body, None, "cue with unreadable times, dropped")


def changed(change: Callable[[Cue], Cue]) -> Callable[[str], st.SearchStrategy[Cue]]:
    return lambda point: complete(point).map(change)


def _arrow(cue: Cue) -> Cue:
    return Cue(
        cue.times.replace("-->", "->"), cue.body, cue.caption, "arrow other than -->, read as one"
    )


def _arrow_text(cue: Cue) -> Cue:
    assert cue.caption
    caption = (*cue.caption[:2], f"{cue.caption[2]} left --> right")
    problem = "--> without times, kept as text"
    return Cue(cue.times, f"{cue.body}\nleft --> right", caption, problem)


def _blank_line(cue: Cue) -> Cue:
    problem = "empty line in a cue, its text joined"
    return Cue(cue.times, f"\n{cue.body}", cue.caption, problem)


def _no_text(cue: Cue) -> Cue:
    assert cue.caption
    return Cue(cue.times, "", (*cue.caption[:2], ""))


def _placeholder(cue: Cue) -> Cue:
    return Cue(cue.times, f" \n{cue.body}", cue.caption)


def _stray(cue: Cue) -> Cue:
    return Cue(
        cue.times, f"{cue.body}\n\nlost words\nof it", cue.caption, "text without times, dropped"
    )


def _blank_inside(cue: Cue) -> Cue:
    assert cue.caption
    caption = (*cue.caption[:2], f"{cue.caption[2]} more words")
    problem = "empty line in a cue, its text joined"
    return Cue(cue.times, f"{cue.body}\n\nmore words", caption, problem)


_FAULTS = [dropped, *map(changed, (_arrow, _arrow_text, _blank_line, _no_text))]
_SUBRIP = [complete, complete, *_FAULTS, changed(_blank_inside)]
_WEBVTT = [complete, complete, *_FAULTS, changed(_placeholder), changed(_stray)]
_HEADERS = [
    ("WEBVTT\n\n", ""),
    ("WEBVTT - a title\nKind: captions\nLanguage: en\n\n", ""),
    ("WEBVTT\n", ""),
    ("WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n", ""),
    ("WEBVTT\n \nNOTE made\nby someone\n \n", ""),
    ("WEBVTT\n\nlost words\n\n", "text without times, dropped"),
    ("WEBVTT\n\nSTYLE\n::cue {\n\ncolor: red }\n\n", "text without times, dropped"),
]
_COMMENTS = ["", "", "NOTE lost\nwords\n\n", "NOTE\n\n", "STYLE\n::cue { color: red }\n\n"]


def check(
    path: Path, text: str, encoding: str, newline: str, cues: list[Cue], problems: list[str]
) -> None:
    path.write_bytes(text.replace("\n", newline).encode(encoding))
    expected = [cue.caption for cue in cues if cue.caption]
    if cues and not expected:
        with pytest.raises(UserError, match="times are"):
            subtitles.read(path)
        return
    counted = Counter(filter(None, [*problems, *(cue.problem for cue in cues)]))
    assert subtitles.read(path) == (expected, counted)


_ENDS = st.sampled_from(["\n", "\r\n", "\r", "\r\r\n"])
_ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])


def between(cue: Cue) -> st.SearchStrategy[str]:
    """Draws the empty lines after a cue: one or more if its text could be the next cue's name."""
    return st.sampled_from(["\n", "\n\n", "\n \n", *([""] * (not cue.body.startswith("\n")))])


@given(st.lists(st.sampled_from(_SUBRIP).flatmap(lambda kind: kind(","))), st.data())
def test_subrip_files_are_read_by_the_grammar(
    tmp_path_factory: pytest.TempPathFactory, cues: list[Cue], data: st.DataObject
) -> None:
    number = data.draw(st.sampled_from(["", "{}\n", "{}\n\n", "#{}\n"]))
    text = data.draw(st.sampled_from(["", "by someone\n\n"])) if cues else ""
    problems = ["text without times, dropped"] if text else []
    for i, cue in enumerate(cues, 1):
        text += f"{number.format(i)}{cue.times}\n{cue.body}\n{data.draw(between(cue))}"
        problems += ["cue number with #, read as a number"] * number.startswith("#")
    if cues and number and data.draw(st.booleans()):
        text += f"\n{len(cues) + 1}\n"
        problems.append("cue number without a cue, dropped")
    encoding, newline = data.draw(_ENCODINGS), data.draw(_ENDS)
    path = tmp_path_factory.getbasetemp() / "grammar.srt"
    check(path, text, encoding, newline, cues, problems)


@given(st.lists(st.sampled_from(_WEBVTT).flatmap(lambda kind: kind(".")), min_size=1), st.data())
def test_webvtt_files_are_read_by_the_grammar(
    tmp_path_factory: pytest.TempPathFactory, cues: list[Cue], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(["", "{}\n", "cue {}\n"]))
    text, problem = data.draw(st.sampled_from(_HEADERS))
    for i, cue in enumerate(cues, 1):
        text += f"{name.format(i)}{cue.times}\n{cue.body}\n"
        apart = data.draw(between(cue))
        text += apart or "\n" * name.startswith("cue")
        text += data.draw(st.sampled_from(_COMMENTS)) if apart else ""
    encoding, newline = data.draw(_ENCODINGS), data.draw(_ENDS)
    path = tmp_path_factory.getbasetemp() / "grammar.vtt"
    check(path, text, encoding, newline, cues, [problem])


def rolling(lines: list[str], rows: int, tail: bool) -> str:
    """Writes WebVTT as YouTube does for speech that fills `rows` lines.

    Args:
      tail: whether each cue is followed by a short one without the line that scrolls out.
    """
    text = "WEBVTT\nKind: captions\nLanguage: en\n"
    for i, line in enumerate(lines):
        start, end = stamp(2000 * i, "."), stamp(2000 * i + 1990, ".")
        after = stamp(2000 * (i + 1), ".")
        first, *others = line.split()
        spoken = first + "".join(f"<00:00:00.300><c> {word}</c>" for word in others)
        above = lines[max(0, i - rows + 1) : i] or [" "]
        shown = "\n".join([*above, spoken])
        text += f"\n{start} --> {end if tail else after} align:start position:0%\n{shown}\n"
        if tail:
            left = lines[max(0, i - rows + 2) : i + 1]
            text += (
                f"\n{end} --> {after} align:start position:0%\n" + "\n".join([*left, " "]) + "\n"
            )
    return text


_SPOKEN = st.lists(st.sampled_from(["no", "no,", "a", "oh"]), min_size=1, max_size=3).map(" ".join)


@given(st.lists(_SPOKEN, max_size=8))
def test_rolling_captions_are_unrolled(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    """This holds even if the speaker repeats words or complete lines."""
    path = tmp_path_factory.getbasetemp() / "rolling.vtt"
    path.write_text(rolling(lines, 2, tail=True))
    unrolled, _ = captions.unroll(subtitles.read(path).captions)
    expected = [(2 * i, 2 * i + 2, line) for i, line in enumerate(lines)]
    assert unrolled == expected


@given(st.lists(_LINES, max_size=8, unique=True), st.integers(1, 4), st.booleans())
def test_captions_that_roll_over_several_lines_are_unrolled(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], rows: int, tail: bool
) -> None:
    lines = [f"{i}th {line}" for i, line in enumerate(lines)]
    path = tmp_path_factory.getbasetemp() / "rolling.vtt"
    path.write_text(rolling(lines, rows, tail and rows > 1))
    unrolled, _ = captions.unroll(subtitles.read(path).captions)
    assert [caption.text for caption in unrolled] == lines
