"""Extracts features of many videos: parallel decoders, batches across videos, atomic writes."""

import os
import queue
import threading
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vtmask.errors import UserError
from vtmask.features import extractors, feature_folder
from vtmask.features.decode import DamagedVideo
from vtmask.features.decoders import Decoder
from vtmask.features.extractors import FeatureExtractor
from vtmask.features.feature_folder import Outcome, Unwritable
from vtmask.features.listing import Listed
from vtmask.features.window import Window

_BATCHES_AHEAD = 2  # decoded while one is embedded

Event = tuple[Listed, np.ndarray | UserError | None]  # a window of a video, its error, or its end


def extract_all(
    videos: Sequence[Listed],
    extractor: FeatureExtractor,
    folder: Path,
    log: Path,
    num_decoders: int,
) -> list[Outcome]:
    """Writes the features of all videos that have none in the folder yet, with a progress bar.

    Args:
      log: file to which outcomes are appended.
      num_decoders: number of decoding processes.

    Returns:
      The videos' outcomes, as far as the folder's logs have them.

    Raises:
      UserError: the folder has features of another extractor, another command is writing to the
        log, or the disk is full.
    """
    feature_folder.write_card(folder, extractor)
    with feature_folder.alone(log), tqdm(unit="video") as bar:
        todo = plan(videos, folder, log)
        bar.reset(len(todo))
        num_features = skipped = 0
        with closing(extract(todo, extractor, folder, log, num_decoders)) as outcomes:
            for outcome in outcomes:
                if not outcome.features:
                    skipped += 1
                    bar.write(feature_folder.printable(f"skipped: {outcome.problem}"))
                num_features += outcome.features
                rate = num_features / max(bar.format_dict["elapsed"], 1e-9)
                bar.set_postfix_str(f"{rate:.1f} features/s, {skipped} skipped", refresh=False)
                bar.update()
    return feature_folder.outcomes_of(videos, folder)


def plan(videos: Sequence[Listed], folder: Path, log: Path) -> list[Listed]:
    """Returns the videos without features; logs as skipped all but the first of the same name."""
    sources = {o.video: Path(o.path) for o in feature_folder.read_logs(folder) if o.features}
    first: dict[str, Path] = {}
    twins = []
    for video in videos:
        done = os.path.exists(feature_folder.features_file(folder, video.name))
        earlier = first.setdefault(video.name, video.path)
        if done and os.path.exists(source := sources.get(video.name, video.path)):
            earlier = source  # the one that an earlier command extracted
        if earlier.absolute() != video.path.absolute():
            problem = f"{video.path}: has the same name as {earlier}; rename one of them"
            twins.append(_skipped(video, problem))
    feature_folder.add_to_log(log, *twins)
    return [
        Listed(name, path)
        for name, path in first.items()
        if not os.path.exists(feature_folder.features_file(folder, name))
    ]


def extract(
    videos: Sequence[Listed],
    extractor: FeatureExtractor,
    folder: Path,
    log: Path,
    num_decoders: int,
) -> Generator[Outcome, None, None]:
    """Writes the features of each video, and its outcome to the log.

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
                outcome = Outcome(video.name, feature_folder.path_of(video), len(features), problem)
                # Logged first, as an outcome counts only once its features exist.
                feature_folder.add_to_log(log, outcome)
                feature_folder.save(folder, video, features, log.stem)
            except Unwritable:
                raise
            except UserError as skipped:
                outcome = _skipped(video, str(skipped))
                feature_folder.add_to_log(log, outcome)
            yield outcome


def _skipped(video: Listed, problem: str) -> Outcome:
    return Outcome(video.name, feature_folder.path_of(video), 0, problem)


def decoded(
    videos: Sequence[Listed], window: Window, num_decoders: int, ahead: int
) -> Generator[Event, None, None]:
    """Yields the windows of each video in order, and then its end; decodes videos in parallel.

    Args:
      ahead: maximum number of windows waiting.
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
    """Yields each finished video, a feature for each of its windows, and its error if any."""
    rows: dict[Listed, list[np.ndarray]] = defaultdict(list)
    for batch in _batches(events, extractor.batch_size):
        windows = [item for _, item in batch if isinstance(item, np.ndarray)]
        features = iter(extractors.embed(extractor, windows) if windows else ())
        for video, item in batch:
            if isinstance(item, np.ndarray):
                rows[video].append(next(features).copy())  # a view would keep the batch in memory
            else:
                yield video, rows.pop(video, []), item


def _batches(events: Iterable[Event], num_windows: int) -> Iterator[list[Event]]:
    """Yields batches of events with `num_windows` windows; the last one may have fewer.

    Events before the first window of a batch are yielded at once, each in a separate batch.
    """
    batch: list[Event] = []
    windows = 0
    for event in events:
        batch.append(event)
        windows += isinstance(event[1], np.ndarray)
        if windows in (0, num_windows):
            yield batch
            batch, windows = [], 0
    yield batch
