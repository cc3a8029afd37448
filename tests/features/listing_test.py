import os
from pathlib import Path

import pytest

from vtmask.errors import UserError
from vtmask.features import listing
from vtmask.features.listing import Shard


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b.MKV", "deep/c.webm", "deep/er/a.mp4", "notes.txt", ".hidden.mp4"):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "videos"


def names(*arguments: object) -> list[str]:
    return [video.name for video in listing.find(map(str, arguments))]


def test_a_folder_is_searched_recursively(folder: Path) -> None:
    assert names(folder) == ["a", "b", "deep/c", "deep/er/a"]


def test_gifs_are_videos(tmp_path: Path) -> None:
    (tmp_path / "loop.gif").touch()
    assert names(tmp_path) == names(tmp_path / "*") == ["loop"]


def test_links_are_followed_but_not_in_cycles(folder: Path) -> None:
    (folder / "deep/up").symlink_to(folder)
    assert len(names(folder)) == 4


def test_a_pattern_names_files_from_its_first_wildcard(folder: Path) -> None:
    assert names(folder / "**/*.mp4") == ["a", "deep/er/a"]
    assert names(folder / "deep/*") == ["c"]


def test_a_file_is_named_without_its_folder(folder: Path) -> None:
    assert names(folder / "deep/er/a.mp4", folder / "b.MKV") == ["a", "b"]


def test_a_given_file_may_have_any_suffix(tmp_path: Path) -> None:
    (tmp_path / "x.bin").touch()
    assert names(tmp_path / "x.bin") == ["x"]


def test_brackets_in_a_file_name_are_not_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "how to [abc].mp4").touch()
    assert names(tmp_path / "how to [abc].mp4") == ["how to [abc]"]


def test_a_pattern_may_be_below_a_folder_with_brackets(tmp_path: Path) -> None:
    (tmp_path / "dir [1]").mkdir()
    (tmp_path / "dir [1]/a.mp4").touch()
    assert names(tmp_path / "dir [1]/*.mp4") == ["a"]


def test_odd_names_in_a_list_are_kept(tmp_path: Path) -> None:
    odd = ["~a.mp4", " b.mp4", "c\u2028d.mp4"]
    (tmp_path / "list.txt").write_text("\n".join(odd) + "\n", encoding="utf-8")
    assert names(tmp_path / "list.txt") == ["~a", " b", "c\u2028d"]


def test_a_line_that_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("/\n")
    with pytest.raises(UserError, match="list.txt: '/' is not a file"):
        names(tmp_path / "list.txt")


def test_paths_in_a_list_are_relative_to_its_folder(folder: Path) -> None:
    lines = ["a.mp4", "", "deep/c.webm", str(folder / "deep/er/a.mp4"), "../videos/b.MKV"]
    (folder / "list.txt").write_text("\n".join(lines))
    actual = listing.find([str(folder / "list.txt")])
    assert [video.name for video in actual] == ["a", "deep/c", "a", "b"]
    assert all(video.path.exists() for video in actual)


def test_a_list_may_name_missing_files(tmp_path: Path) -> None:
    (tmp_path / "list.lst").write_text("gone.mp4\n")
    assert names(tmp_path / "list.lst") == ["gone"]


@pytest.mark.parametrize("argument", ["gone", "gone.mp4", "*.mp4", "empty", "list.txt"])
def test_an_argument_without_videos_is_refused(
    tmp_path: Path, argument: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").touch()
    with pytest.raises(UserError, match=argument.replace("*", r"\*")) as error:
        listing.find([argument])
    assert "\n" not in str(error.value)


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UserError, match="list.txt: is not a list"):
        listing.find([str(tmp_path / "list.txt")])


def test_names_that_are_not_utf8_are_escaped(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4")).touch()
    (name,) = names(tmp_path)
    assert name.encode() == b"caf\\udce9"


def test_every_video_is_in_one_shard(folder: Path) -> None:
    everything = [f"video-{i}" for i in range(1000)]
    shards = [Shard.parse(f"{i}/7") for i in range(1, 8)]
    parts = [[name for name in everything if shard.has(name)] for shard in shards]
    assert sorted(sum(parts, [])) == sorted(everything)
    assert min(map(len, parts)) > 100


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "a/b", "1/0", "-1/4"])
def test_shards_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--shard is .*, expected NUMBER/TOTAL"):
        Shard.parse(text)
