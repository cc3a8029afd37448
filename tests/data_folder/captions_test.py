"""A video gets the right captions and descriptions; files that are left out are reported."""

from pathlib import Path

import pytest
from data_folder.folders import reasons, videos, write

from vtmask.files.subtitles import Caption


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    return tmp_path / "manual"


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (["a.en.vtt"], "a.en.vtt"),
        (["a.en.vtt", "a.de.vtt", "a.zh-Hans.vtt"], "a.de.vtt"),
        (["a.en-orig.vtt", "a.en.vtt"], "a.en.vtt"),
        (["a.de.vtt", "a.srt", "a.vtt"], "a.srt"),
        (["a.srt", "a.json", "a.info.json"], "a.json"),
    ],
)
def test_one_of_several_caption_files_is_chosen(manual: Path, names: list[str], read: str) -> None:
    write(manual, "a.mp4", *names)
    assert [line.text for line in videos(manual)["a"].captions.lines] == [read]
    assert not reasons(manual)


def test_a_name_may_end_like_a_language(manual: Path) -> None:
    write(manual, "talk.npy", "talk.en.npy", "talk.en.srt", "talk.en.en.srt", "talk.de.srt")
    first_texts = {name: video.captions.lines[0].text for name, video in videos(manual).items()}
    assert first_texts == {"talk": "talk.de.srt", "talk.en": "talk.en.srt"}


def test_unreadable_texts_skip_no_video(manual: Path) -> None:
    write(manual, "a.mp4", "a.json", "a.srt", "a.vtt", "d.mov", "d.vtt", "e.mp4", "e.txt", "e.srt")
    (manual / "a.json").write_text('{"url": "https://x", "caption": "a cook"}')
    (manual / "d.vtt").write_text("WEBVTT\n\nnothing\n")
    (manual / "e.txt").write_bytes(b"\xff")
    actual = videos(manual)
    (in_a,), (in_d,), (in_e,) = (video.unread for video in actual.values())
    assert "a.json: holds no captions; expected" in in_a
    assert "d.vtt: line 3" in in_d
    assert "e.txt: byte 0 is not UTF-8" in in_e
    assert [line.text for line in actual["a"].captions.lines] == ["a.srt"]
    assert not actual["d"].captions.lines and not actual["e"].descriptions
    assert [line.text for line in actual["e"].captions.lines] == ["e.srt"]


def test_a_video2dataset_folder_is_read(manual: Path, reference_dir: Path) -> None:
    manual.mkdir()
    for path in (reference_dir / "field/video2dataset").iterdir():
        (manual / path.name).write_bytes(path.read_bytes())
    write(manual, "00000.mp4")
    video = videos(manual)["00000"]
    assert video.descriptions == ["a cook flips a cake"]
    assert [line.split(": ")[1][:19] for line in video.unread] == ["holds no captions; "]


@pytest.mark.parametrize(
    ("language", "read"),
    [
        ("", "a.srt"),
        ("ar", "a.ar.vtt"),
        ("EN", "a.en.vtt"),
        ("pt", "a.pt-BR.vtt"),
        ("pt-br", "a.pt-BR.vtt"),
        ("fr", "a.srt"),
        ("e", "a.srt"),
    ],
)
def test_the_config_chooses_the_language(manual: Path, language: str, read: str) -> None:
    write(manual, "a.mp4", "a.ar.vtt", "a.de.vtt", "a.en-US.srt", "a.en.vtt", "a.pt-BR.vtt")
    write(manual, "a.srt", "b.mp4", "b.de.vtt")
    actual = videos(manual, language=language)
    assert [line.text for line in actual["a"].captions.lines] == [read]
    if language:
        assert not actual["b"].captions.lines
        assert actual["b"].unread == ["b.de.vtt: not in the language of the config"]


@pytest.mark.parametrize("suffix", ["ass", "json3", "lrc", "sbv"])
def test_captions_in_other_formats_are_read(manual: Path, suffix: str) -> None:
    contents = {
        "ass": "[Events]\nDialogue: 0,0:00:01.00,0:00:02.50,D,,0,0,0,,a",
        "json3": '{"events": [{"tStartMs": 1000, "dDurationMs": 1500, "segs": [{"utf8": "a"}]}]}',
        "lrc": "[00:01.00]a\n[00:02.50]\n",
        "sbv": "0:00:01.000,0:00:02.500\na\n",
    }
    write(manual, "a.mp4")
    (manual / f"a.en.{suffix}").write_text(contents[suffix])
    assert videos(manual)["a"].captions.lines == [Caption(1, 2.5, "a")]


def test_captions_in_unsupported_formats_are_reported(manual: Path) -> None:
    write(manual, "a.mp4", "a.en.ttml", "a.srv3", "b.mp4", "b.ttml", "b.vtt", "c.ttml")
    actual = videos(manual)
    assert actual["a"].unread == [
        "a.en.ttml: captions of this kind are not supported",
        "a.srv3: captions of this kind are not supported",
    ]
    assert not actual["b"].unread and not reasons(manual)


def test_rolling_captions_are_unrolled_on_request(manual: Path) -> None:
    write(manual, "a.mp4")
    (manual / "a.en.vtt").write_text(
        "WEBVTT\n\n00:00.000 --> 00:02.000\n \nchop<00:01.000><c> it</c>\n\n"
        "00:02.000 --> 00:02.010\nchop it\n \n\n00:02.010 --> 00:04.000\nchop it\nit is ready\n"
    )
    assert len(videos(manual)["a"].captions.lines) == 3
    video = videos(manual, rolling=True)["a"]
    assert video.captions.lines == [(0, 2.01, "chop it"), (2.01, 4, "it is ready")]
    assert video.problems == {"lines of a rolling caption shown again, removed": 2}
