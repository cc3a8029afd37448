"""Features of many videos: decoders in parallel, batches across videos, files written at once.

A folder of features holds, for a video called NAME,

- NAME.npy: float16 [windows, size];
- features.json: what made all of them;
- extracted.jsonl, or extracted-3-of-64.jsonl of a shard: an `Outcome` a line.
"""

import dataclasses
import io
import json
import os
import queue
import socket
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vtmask.building import files
from vtmask.disk import write_whole
from vtmask.errors import UserError
from vtmask.features import extractors
from vtmask.features.decode import Window
from vtmask.features.decoders import Decoder
from vtmask.features.extractors import FeatureExtractor
from vtmask.features.listing import Listed, Shard

CARD = "features.json"
LOGS = "extracted*.jsonl"
_SHOWN = 20  # problems that a summary tells; the log has all
_BATCHES_AHEAD = 2  # decoded while one is embedded

Event = tuple[Listed, np.ndarray | str]  # a window of a video, or its end and what went wrong


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
      UserError: it has features that were made by something else.
    """
    card = {
        "feature_extractor": extractor.name,
        "feature_size": extractor.size,
        "seconds_per_feature": extractor.window.seconds,
        "window": dataclasses.asdict(extractor.window),
    }
    path = folder / CARD
    if path.exists():
        found = files.read_json(path)
        for field, value in card.items():
            if (theirs := files.field(found, field, object, str(path))) != value:
                raise UserError(
                    f"{path}: features there have {field} {theirs!r}, these would have {value!r}; "
                    "give another --out"
                )
        return
    if any(folder.glob("*.npy")):
        raise UserError(f"{folder}: has .npy files but no {CARD}; give another --out")
    folder.mkdir(parents=True, exist_ok=True)
    # Machines that share the folder may all come here at once.
    write_whole(path, json.dumps(card, indent=2) + "\n", f"{socket.gethostname()}-{os.getpid()}")


def extract_all(
    videos: Sequence[Listed],
    extractor: FeatureExtractor,
    folder: Path,
    log: Path,
    batch_size: int,
    num_decoders: int,
) -> list[Outcome]:
    """Writes the features of all videos that have none in the folder yet.

    Args:
      log: file of the outcomes; those of videos that are done and of other videos stay in it.
      batch_size: windows that the extractor gets at once, of one video or several.
      num_decoders: processes.

    Returns:
      The videos' outcomes; one that was done before, on another machine, may have none.

    Raises:
      UserError: the folder has features of another extractor.
    """
    write_card(folder, extractor)
    todo = plan(videos, folder, log)
    decoders = min(num_decoders, len(todo))
    with log.open("a", encoding="utf-8") as lines, tqdm(total=len(todo), unit="video") as bar:
        events = decoded(todo, extractor.window, decoders, _BATCHES_AHEAD * batch_size)
        num_features = skipped = 0
        for video, rows, problem in embedded(events, extractor, batch_size):
            outcome, features = _outcome(video, extractor, rows, problem)
            # First the line: a video is done when its features are there.
            lines.write(_line(outcome))
            lines.flush()
            if features is not None:
                save(folder, video.name, features)
            else:
                skipped += 1
                bar.write(f"skipped: {outcome.problem}")
            num_features += outcome.features
            rate = num_features / max(bar.format_dict["elapsed"], 1e-9)
            bar.set_postfix_str(f"{rate:.1f} features/s, {skipped} skipped", refresh=False)
            bar.update()
    return outcomes_of(videos, log)


def plan(videos: Sequence[Listed], folder: Path, log: Path) -> list[Listed]:
    """The videos without features, each name once; the log has no lines of them any more."""
    first: dict[str, Listed] = {}
    twins = []
    for video in videos:
        if first.setdefault(video.name, video) is not video:
            problem = f"{video.path}: has the name of {first[video.name].path}; rename one of them"
            twins.append(Outcome(video.name, str(video.path.absolute()), 0, problem))
    todo = [v for name, v in first.items() if not features_file(folder, name).exists()]
    undone = {video.name for video in todo}
    told = (outcome for outcome in read_log(log) if outcome.video not in undone)
    stand = [outcome for outcome in told if outcome.features or outcome.video not in first]
    write_log(log, stand + twins)
    return todo


def write_log(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Replaces a log."""
    write_whole(path, "".join(map(_line, outcomes)))


def _line(outcome: Outcome) -> str:
    return json.dumps(dataclasses.asdict(outcome)) + "\n"


def read_log(path: Path) -> list[Outcome]:
    """The outcomes in a log; a last line cut short by a kill is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [Outcome(**json.loads(line)) for line in lines if line.endswith("\n")]


def outcomes_of(videos: Iterable[Listed], log: Path) -> list[Outcome]:
    """What the log tells of these videos."""
    names = {video.name for video in videos}
    return [outcome for outcome in read_log(log) if outcome.video in names]


def save(folder: Path, video: str, features: np.ndarray) -> None:
    """Writes the features of a video."""
    path = features_file(folder, video)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = io.BytesIO()
    np.save(data, features)
    write_whole(path, data.getvalue())


def extract_one(video: Listed, extractor: FeatureExtractor, folder: Path) -> Outcome:
    """Writes the features of a video; decodes it in this process."""
    try:
        features, problem = extractors.salvage(video.path, extractor)
    except UserError as error:
        return Outcome(video.name, str(video.path.absolute()), 0, str(error))
    save(folder, video.name, features)
    return Outcome(video.name, str(video.path.absolute()), len(features), problem)


def decoded(
    videos: Iterable[Listed], window: Window, num_decoders: int, ahead: int
) -> Iterator[Event]:
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
                problem = ""
                try:
                    for pixels in decoder.windows(video.path):
                        put((video, pixels))
                except UserError as error:
                    problem = str(error)
                put((video, problem))
        finally:
            put(None)

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
    events: Iterable[Event], extractor: FeatureExtractor, batch_size: int
) -> Iterator[tuple[Listed, list[np.ndarray], str]]:
    """Each video that ended, a feature for each of its windows and what went wrong with it."""
    rows: dict[Listed, list[np.ndarray]] = defaultdict(list)
    for batch in _batches(events, batch_size):
        windows = [item for _, item in batch if not isinstance(item, str)]
        features = iter(extractor(np.stack(windows)) if windows else ())
        for video, item in batch:
            if isinstance(item, str):
                yield video, rows.pop(video, []), item
            else:
                rows[video].append(next(features))


def _batches(events: Iterable[Event], num_windows: int) -> Iterator[list[Event]]:
    """Events with so many windows among them, or fewer at the end or where there are none."""
    batch: list[Event] = []
    windows = 0
    for event in events:
        batch.append(event)
        windows += not isinstance(event[1], str)
        if windows in (0, num_windows):
            yield batch
            batch, windows = [], 0
    yield batch


def _outcome(
    video: Listed, extractor: FeatureExtractor, rows: Sequence[np.ndarray], problem: str
) -> tuple[Outcome, np.ndarray | None]:
    """What became of a video, and its features if it has any."""
    skipped = Outcome(video.name, str(video.path.absolute()), 0, problem)
    if not rows:
        return skipped, None
    try:
        features = extractors.checked(video.path, extractor, np.stack(rows))
    except UserError as error:
        return dataclasses.replace(skipped, problem=str(error)), None
    return dataclasses.replace(skipped, features=len(features)), features


def summary(outcomes: Sequence[Outcome], num_videos: int, log: Path) -> Iterator[str]:
    """Lines for people: how many videos have features, which are damaged and which have none."""
    skipped = [outcome for outcome in outcomes if not outcome.features]
    damaged = [outcome for outcome in outcomes if outcome.features and outcome.problem]
    done = num_videos - len(skipped)
    yield f"{done} of {num_videos} videos have features in {log.parent}"
    for title, some in (
        ("damaged, with features of what could be decoded", damaged),
        ("skipped", skipped),
    ):
        if some:
            yield f"{title}: {len(some)}"
            yield from (f"  {outcome.problem}" for outcome in some[:_SHOWN])
            if len(some) > _SHOWN:
                yield f"  … and {len(some) - _SHOWN} more"
    yield f"What became of each: {log}"
