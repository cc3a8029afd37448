"""Features of many videos: decoders in parallel, batches across videos, files written at once.

A folder of features holds, for a video called NAME,

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
import queue
import socket
import threading
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vtmask import files
from vtmask.disk import write_whole
from vtmask.errors import UserError, reason
from vtmask.features import extractors
from vtmask.features.decode import DamagedVideo, Window
from vtmask.features.decoders import Decoder
from vtmask.features.extractors import FeatureExtractor
from vtmask.features.listing import Listed, Shard

LOGS = "extracted*.jsonl"
_SHOWN = 20  # problems that a summary tells; the log has all
_BATCHES_AHEAD = 2  # decoded while one is embedded

_OF_A_NAME = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST, errno.EISDIR)

Event = tuple[Listed, np.ndarray | UserError | None]  # a window of a video, or how it ended


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
    """Of the file of a shard's outcomes."""
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
        found = files.read_json(path)
        for field, value in card.items():
            if (theirs := files.field(found, field, object, str(path))) != value:
                raise UserError(
                    f"{path}: features there have {field} {theirs!r}, these would have {value!r}; "
                    "give another --out"
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


def extract_all(
    videos: Sequence[Listed],
    extractor: FeatureExtractor,
    folder: Path,
    log: Path,
    num_decoders: int,
) -> list[Outcome]:
    """Writes the features of all videos that have none in the folder yet, with a progress bar.

    Args:
      log: file that outcomes are added to.
      num_decoders: processes.

    Returns:
      The videos' outcomes, as far as the folder's logs tell.

    Raises:
      UserError: the folder has features of another extractor, another command adds to the log, or
        the disk is full.
    """
    write_card(folder, extractor)
    with _alone(log), tqdm(unit="video") as bar:
        todo = plan(videos, folder, log)
        bar.reset(len(todo))
        num_features = skipped = 0
        with closing(extract(todo, extractor, folder, log, num_decoders)) as outcomes:
            for outcome in outcomes:
                if not outcome.features:
                    skipped += 1
                    bar.write(printable(f"skipped: {outcome.problem}"))
                num_features += outcome.features
                rate = num_features / max(bar.format_dict["elapsed"], 1e-9)
                bar.set_postfix_str(f"{rate:.1f} features/s, {skipped} skipped", refresh=False)
                bar.update()
    return outcomes_of(videos, folder)


@contextmanager
def _alone(log: Path) -> Iterator[None]:
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


def plan(videos: Sequence[Listed], folder: Path, log: Path) -> list[Listed]:
    """The videos without features; of those of one name the first, others are logged as skipped."""
    sources = {o.video: Path(o.path) for o in read_logs(folder) if o.features}
    first: dict[str, Path] = {}
    twins = []
    for video in videos:
        done = os.path.exists(features_file(folder, video.name))
        theirs = first.setdefault(video.name, video.path)
        if done and os.path.exists(source := sources.get(video.name, video.path)):
            theirs = source  # which an earlier command saw
        if theirs.absolute() != video.path.absolute():
            problem = f"{video.path}: has the name of {theirs}; rename one of them"
            twins.append(_skipped(video, problem))
    _write(log, *twins)
    return [
        Listed(name, path)
        for name, path in first.items()
        if not os.path.exists(features_file(folder, name))
    ]


def extract(
    videos: Sequence[Listed],
    extractor: FeatureExtractor,
    folder: Path,
    log: Path,
    num_decoders: int,
) -> Generator[Outcome, None, None]:
    """Writes the features of videos, and an outcome of each to the log.

    Raises:
      Unwritable: a file can't be written.
    """
    ahead = _BATCHES_AHEAD * extractor.batch_size
    with closing(decoded(videos, extractor.window, num_decoders, ahead)) as events:
        for video, rows, error in embedded(events, extractor):
            try:
                if error and not isinstance(error, DamagedVideo):
                    raise error
                features = extractors.checked(video.path, extractor, np.stack(rows))
                problem = str(error) if error else ""
                outcome = Outcome(video.name, _path(video), len(features), problem)
                _write(log, outcome)  # it counts as soon as the features are there
                _save(folder, video, features, log.stem)
            except Unwritable:
                raise
            except UserError as skipped:
                outcome = _skipped(video, str(skipped))
                _write(log, outcome)
            yield outcome


def _save(folder: Path, video: Listed, features: np.ndarray, writer: str) -> None:
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


def _skipped(video: Listed, problem: str) -> Outcome:
    return Outcome(video.name, _path(video), 0, problem)


def _path(video: Listed) -> str:
    return str(video.path.absolute())


def _write(log: Path, *outcomes: Outcome) -> None:
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
    """What the logs tell of the videos: their features if they have any, else the last problem."""
    wanted = {(video.name, _path(video)) for video in videos}
    told: dict[tuple[str, str], Outcome] = {}
    for outcome in read_logs(folder):
        key = outcome.video, outcome.path
        lost = outcome.features and not os.path.exists(features_file(folder, outcome.video))
        known = told.get(key)
        if key in wanted and not lost and (outcome.features or not (known and known.features)):
            told[key] = outcome
    return list(told.values())


def printable(text: str) -> str:
    """The text on one line that any terminal can show."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def decoded(
    videos: Sequence[Listed], window: Window, num_decoders: int, ahead: int
) -> Generator[Event, None, None]:
    """The windows of each video in order and then its end; videos are decoded side by side.

    Args:
      ahead: windows that wait, at most.
    """
    todo, lock = iter(videos), threading.Lock()
    events: queue.Queue[Event | None] = queue.Queue(ahead)
    stopped = threading.Event()

    def put(event: Event | None) -> None:
        while not stopped.is_set():
            try:
                return events.put(event, timeout=1)
            except queue.Full:
                pass

    def decode(decoder: Decoder) -> None:
        try:
            while not stopped.is_set():
                with lock:
                    video = next(todo, None)
                if video is None:
                    return
                try:
                    for pixels in decoder.windows(video.path):
                        put((video, pixels))
                    put((video, None))
                except UserError as error:
                    put((video, error))
        finally:
            put(None)

    num_decoders = min(num_decoders, len(videos))
    with ThreadPoolExecutor(max(num_decoders, 1)) as pool, ExitStack() as stack:
        decoders = [stack.enter_context(Decoder(window)) for _ in range(num_decoders)]
        running = [pool.submit(decode, decoder) for decoder in decoders]
        try:
            for _ in running:
                while (event := events.get()) is not None:
                    yield event
        finally:
            stopped.set()
        for future in running:
            future.result()


def embedded(
    events: Iterable[Event], extractor: FeatureExtractor
) -> Iterator[tuple[Listed, list[np.ndarray], UserError | None]]:
    """Each video that ended, a feature for each of its windows, and what went wrong with it."""
    rows: dict[Listed, list[np.ndarray]] = defaultdict(list)
    for batch in _batches(events, extractor.batch_size):
        windows = [item for _, item in batch if isinstance(item, np.ndarray)]
        features = iter(extractors.embed(extractor, windows) if windows else ())
        for video, item in batch:
            if isinstance(item, np.ndarray):
                rows[video].append(next(features).copy())  # else all of its batch stays in memory
            else:
                yield video, rows.pop(video, []), item


def _batches(events: Iterable[Event], num_windows: int) -> Iterator[list[Event]]:
    """Events with so many windows among them, or fewer at the end or where there are none."""
    batch: list[Event] = []
    windows = 0
    for event in events:
        batch.append(event)
        windows += isinstance(event[1], np.ndarray)
        if windows in (0, num_windows):
            yield batch
            batch, windows = [], 0
    yield batch


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
