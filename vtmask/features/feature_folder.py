"""A folder of features, which several commands and machines may fill together.

It holds

- NAME.npy, for a video called NAME: float16 [windows, size];
- features.json: the extractor and the window of all features;
- extracted.jsonl, or extracted-3-of-64.jsonl for a shard: one `Outcome` per line, the latest last.
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
_SHOWN = 20  # problems that a summary lists; the log has all
_OF_A_NAME = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST, errno.EISDIR)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of a video.

    Attributes:
      video: its name.
      path: its file.
      features: number of features; 0 if it was skipped.
      problem: why it was skipped, or which part could not be decoded; "" if all could.
    """

    video: str
    path: str
    features: int
    problem: str = ""


def log_name(shard: Shard) -> str:
    """Returns the name of a shard's log."""
    part = f"-{shard.number}-of-{shard.total}" if shard.total > 1 else ""
    return f"extracted{part}.jsonl"


def features_file(folder: Path, video: str) -> Path:
    """Returns the path of a video's features."""
    return folder / f"{video}.npy"


def write_card(folder: Path, extractor: FeatureExtractor) -> None:
    """Makes the folder and records in features.json what makes its features.

    Raises:
      UserError: the folder has features that something else made, or it can't be written.
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
                f"{path}: its features have {'; '.join(differing)}; choose another --out"
            )
        return
    if any(folder.rglob("*.npy")):
        raise UserError(f"{folder}: has .npy files but no {files.CARD}; choose another --out")
    with _written(path):
        folder.mkdir(parents=True, exist_ok=True)
        # Machines that share the folder may get here at the same time.
        write_whole(path, json.dumps(card, indent=2) + "\n", this_process())


class Unwritable(UserError):
    """No file can be written: the disk is full, or the folder is read-only."""


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Turns an OSError into an `Unwritable` that names the file and says what is kept."""
    try:
        yield
    except OSError as error:
        raise Unwritable(
            f"{path}: can't be written ({reason(error)}); earlier features are kept; run the "
            "same command to continue"
        ) from error


def this_process() -> str:
    """Returns a name that no other process has, on any machine."""
    return f"{socket.gethostname()}-{os.getpid()}"


@contextmanager
def alone(log: Path) -> Iterator[None]:
    with log.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{log}: another command is writing to it; wait for it, or split the work with "
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
      UserError: this file can't be written because of the video's name.
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
    """Yields the outcomes in all logs of a folder; skips lines that a kill or power cut broke."""
    for log in sorted(folder.glob(LOGS)):
        for line in log.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                outcome = Outcome(**json.loads(line))
            except (ValueError, TypeError):
                continue
            yield outcome


def outcomes_of(videos: Iterable[Listed], folder: Path) -> list[Outcome]:
    """Returns the outcomes in the logs: a video's features if it has any, else its last problem."""
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
    """Returns the text on one line that any terminal can show."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def summary(outcomes: Sequence[Outcome], num_videos: int, folder: Path) -> Iterator[str]:
    """Yields lines for people: how many videos have features, which are damaged or skipped."""
    skipped = [outcome for outcome in outcomes if not outcome.features]
    damaged = [outcome for outcome in outcomes if outcome.features and outcome.problem]
    done = num_videos - len(skipped)
    yield f"{done} of {num_videos} videos have features in {folder}"
    for title, some in (
        ("damaged, with features of the parts that can be decoded", damaged),
        ("skipped", skipped),
    ):
        if some:
            yield f"{title}: {len(some)}"
            yield from (printable(f"  {outcome.problem}") for outcome in some[:_SHOWN])
            if len(some) > _SHOWN:
                yield f"  … and {len(some) - _SHOWN} more"
    yield f"Outcome of each: {folder / LOGS}"
