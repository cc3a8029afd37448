"""A folder of features, which several commands and machines may fill.

It holds, for a video called NAME,

- NAME.npy: float16 [windows, size];
- features.json: what made all of them;
- extracted.jsonl, or extracted-3-of-64.jsonl of a shard: an `Outcome` a line, the latest last.
"""

import dataclasses
import errno
import fcntl
import io
import json
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from vtmask import files
from vtmask.disk import write_whole
from vtmask.errors import UserError, reason
from vtmask.features.extractors import FeatureExtractor
from vtmask.features.listing import Listed, Shard

LOGS = "extracted*.jsonl"
_SHOWN = 20  # problems that a summary tells; the log has all
_OF_A_NAME = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST, errno.EISDIR)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a video.

    Attributes:
      video: its name.
      path: its file.
      features: how many it has; 0 if it was skipped.
      problem: why it was skipped, or what of it could not be decoded; "" if all could.
    """

    video: str
    path: str
    features: int
    problem: str = ""


def log_name(shard: Shard) -> str:
    """Name of the file of a shard's outcomes."""
    part = f"-{shard.number}-of-{shard.total}" if shard.total > 1 else ""
    return f"extracted{part}.jsonl"


def features_file(folder: Path, video: str) -> Path:
    """Where the features of a video are."""
    return folder / f"{video}.npy"


def write_card(folder: Path, extractor: FeatureExtractor) -> None:
    """Makes the folder and says in features.json what its features are made by.

    Raises:
      UserError: it has features that were made by something else, or can't be written.
    """
    card = {
        "feature_extractor": extractor.name,
        "feature_size": extractor.size,
        "seconds_per_feature": extractor.window.seconds,
        "window": dataclasses.asdict(extractor.window),
    }
    path = folder / files.CARD
    if path.exists():
        written = files.read_json(path)
        differing = [
            f"{field} {other!r}, these would have {value!r}"
            for field, value in card.items()
            if (other := files.field(written, field, object, str(path))) != value
        ]
        if differing:
            raise UserError(
                f"{path}: features there have {'; '.join(differing)}; give another --out"
            )
        return
    if any(folder.rglob("*.npy")):
        raise UserError(f"{folder}: has .npy files but no {files.CARD}; give another --out")
    with _written(path):
        folder.mkdir(parents=True, exist_ok=True)
        # Machines that share the folder may all come here at once.
        write_whole(path, json.dumps(card, indent=2) + "\n", this_process())


class Unwritable(UserError):
    """A file can't be written, whatever is in it: the disk is full, or the folder read-only."""


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Names the file if it can't be written, and says what becomes of the others."""
    try:
        yield
    except OSError as error:
        raise Unwritable(
            f"{path}: can't be written ({reason(error)}); features written before are kept, and "
            "the same command goes on from there"
        ) from error


def this_process() -> str:
    """A name that no other process has, on any machine."""
    return f"{socket.gethostname()}-{os.getpid()}"


@contextmanager
def alone(log: Path) -> Iterator[None]:
    with log.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{log}: another command is at work on it; wait for it, or share the work with "
                "--shard"
            ) from None
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":  # a kill has cut the last line short
                file.write(b"\n")
                file.flush()
        yield


def save(folder: Path, video: Listed, features: np.ndarray, writer: str) -> None:
    """Writes the features of a video.

    Raises:
      Unwritable: no file can be written.
      UserError: this one can't, because of the video's name.
    """
    path = features_file(folder, video.name)
    data = io.BytesIO()
    np.save(data, features)
    with _written(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, data.getvalue(), writer)
        except OSError as error:
            if error.errno not in _OF_A_NAME:
                raise
            raise UserError(f"{video.path}: {path} can't be written ({reason(error)})") from error


def path_of(video: Listed) -> str:
    return str(video.path.absolute())


def add_to_log(log: Path, *outcomes: Outcome) -> None:
    with _written(log), log.open("a", encoding="utf-8") as lines:
        lines.writelines(json.dumps(dataclasses.asdict(outcome)) + "\n" for outcome in outcomes)


def read_logs(folder: Path) -> Iterator[Outcome]:
    """The outcomes in all logs of a folder, without lines that a kill or a power cut broke."""
    for log in sorted(folder.glob(LOGS)):
        for line in log.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                outcome = Outcome(**json.loads(line))
            except (ValueError, TypeError):
                continue
            yield outcome


def outcomes_of(videos: Iterable[Listed], folder: Path) -> list[Outcome]:
    """What the logs say of the videos: their features if they have any, else the last problem."""
    keys = {(video.name, path_of(video)) for video in videos}
    latest: dict[tuple[str, str], Outcome] = {}
    for outcome in read_logs(folder):
        key = outcome.video, outcome.path
        lost = outcome.features and not os.path.exists(features_file(folder, outcome.video))
        known = latest.get(key)
        if key in keys and not lost and (outcome.features or not (known and known.features)):
            latest[key] = outcome
    return list(latest.values())


def printable(text: str) -> str:
    """The text on one line that any terminal can show."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def summary(outcomes: Sequence[Outcome], num_videos: int, folder: Path) -> Iterator[str]:
    """Lines for people: how many videos have features, which are damaged and which have none."""
    skipped = [outcome for outcome in outcomes if not outcome.features]
    damaged = [outcome for outcome in outcomes if outcome.features and outcome.problem]
    done = num_videos - len(skipped)
    yield f"{done} of {num_videos} videos have features in {folder}"
    for title, some in (
        ("damaged, with features of what could be decoded", damaged),
        ("skipped", skipped),
    ):
        if some:
            yield f"{title}: {len(some)}"
            yield from (printable(f"  {outcome.problem}") for outcome in some[:_SHOWN])
            if len(some) > _SHOWN:
                yield f"  … and {len(some) - _SHOWN} more"
    yield f"What became of each: {folder / LOGS}"
