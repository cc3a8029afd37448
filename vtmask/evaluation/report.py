"""A retrieval run as one self-contained HTML file: numbers, plots, best and worst examples."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, PercentFormatter

from vtmask import pages
from vtmask.evaluation import metrics as retrieval_metrics

_QUERIES = 5  # shown of the best, and of the worst
_RETRIEVED = 3  # videos shown of a query, besides the right one
_FRAMES = 6  # shown of a video
_FRAME_HEIGHT = 96  # pixels
_HEAT_MAP_SIZE = 256  # cells on a side, at most


@dataclass(frozen=True)
class Example:
    """One text-video pair.

    Attributes:
      video_id: names the video.
      text: its description, the query of text-to-video retrieval.
      captions: its narration, in order of time.
      video: its file, whose frames are shown; None where there is none.
    """

    video_id: str
    text: str
    captions: Sequence[str]
    video: Path | None


@dataclass(frozen=True)
class _Frame:
    second: float
    uri: str


@dataclass(frozen=True)
class _Strip:
    """Evenly spaced frames of a video, or why there are none."""

    frames: Sequence[_Frame] = ()
    problem: str = ""


@dataclass(frozen=True)
class _Candidate:
    """A video that is shown for a query."""

    example: Example
    score: float
    rank: float
    right: bool
    strip: _Strip


@dataclass(frozen=True)
class _Query:
    example: Example
    rank: float
    candidates: Sequence[_Candidate]


def write_retrieval_report(
    path: str | Path,
    title: str,
    scores: np.ndarray,
    examples: Sequence[Example],
    metrics: Mapping[str, Mapping[str, float]],
    facts: Mapping[str, str | int],
) -> None:
    """Writes one HTML file that needs no network, no script and no other file.

    Where the frames of a video can't be read the page says so in their place.

    Args:
      path: the file to write.
      title: heads the page.
      scores: [texts, videos], higher is more similar; text i describes video i.
      examples: [texts], in the order of `scores`.
      metrics: what `metrics.retrieval` gave for "text to video" and for "video to text".
      facts: what is to be known of the run: checkpoint, data set, split, …

    Raises:
      UserError: a score is not finite.
      ValueError: `scores` are not square or not of as many texts as there are examples.
    """
    if scores.shape != (len(examples), len(examples)):
        raise ValueError(f"scores {scores.shape} do not fit {len(examples)} examples")
    text_ranks, video_ranks = retrieval_metrics.ranks(scores), retrieval_metrics.ranks(scores.T)
    best, worst = _best_and_worst(scores, text_ranks)
    page = pages.render(
        "evaluation/retrieval.html.j2",
        title=title,
        metrics=metrics,
        chance=retrieval_metrics.chance(len(examples)),
        facts=facts,
        size=len(examples),
        heat_map=pages.plot(_heat_map(scores)),
        cells=min(len(examples), _HEAT_MAP_SIZE),
        right_score=float(np.diagonal(scores).mean()),
        mean_score=float(scores.mean()),
        recall_curve=pages.plot(
            _recall_curve({"text to video": text_ranks, "video to text": video_ranks})
        ),
        best=[_query(index, scores, examples) for index in best],
        worst=[_query(index, scores, examples) for index in worst],
    )
    Path(path).write_text(page, encoding="utf-8")


def _best_and_worst(scores: np.ndarray, ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Queries by rank, then by the margin of the right video's score over the best wrong one."""
    wrong = np.where(np.eye(len(scores), dtype=bool), -np.inf, scores).max(axis=1)
    order = np.lexsort((wrong - np.diagonal(scores), ranks))
    return order[:_QUERIES], order[_QUERIES:][: -_QUERIES - 1 : -1]


def _query(index: int, scores: np.ndarray, examples: Sequence[Example]) -> _Query:
    """The first videos retrieved for a text, and the right one wherever it ranks."""
    row = scores[index]
    # As if each video in turn were the right one.
    ranks = retrieval_metrics.ranks(np.broadcast_to(row, scores.shape))
    shown = list(np.argsort(-row, kind="stable")[:_RETRIEVED])
    if index not in shown:
        shown.append(index)
    candidates = [
        _Candidate(
            examples[video], row[video], ranks[video], video == index, _strip(examples[video].video)
        )
        for video in shown
    ]
    return _Query(examples[index], ranks[index], candidates)


def _strip(video: Path | None) -> _Strip:
    if video is None:
        return _Strip(problem="no video file was given")
    try:
        frames = tuple(_frames(video))
    except av.FFmpegError as error:
        return _Strip(problem=f"{video.name}: {error.strerror}")
    return _Strip(frames) if frames else _Strip(problem=f"{video.name}: no frames could be read")


def _frames(video: Path) -> Iterator[_Frame]:
    """Frames from the middles of equally long parts of a video."""
    with av.open(str(video)) as container:
        if not container.streams.video or container.duration is None:
            return
        begin, end = container.start_time or 0, (container.start_time or 0) + container.duration
        for part in range(_FRAMES):
            microsecond = begin + (end - begin) * (2 * part + 1) // (2 * _FRAMES)
            container.seek(microsecond)
            for frame in container.decode(video=0):
                if frame.time is not None and frame.time * av.time_base >= microsecond:
                    yield _Frame((microsecond - begin) / av.time_base, _thumbnail(frame))
                    break


def _thumbnail(frame: av.VideoFrame) -> str:
    width = max(1, round(frame.width * _FRAME_HEIGHT / frame.height))
    data = io.BytesIO()
    frame.to_image(width=width, height=_FRAME_HEIGHT).save(data, "JPEG", quality=75)
    return pages.data_uri("image/jpeg", data.getvalue())


def _heat_map(scores: np.ndarray) -> Figure:
    size = len(scores)
    shown = np.linspace(0, size - 1, min(size, _HEAT_MAP_SIZE)).round().astype(int)
    figure = Figure(figsize=(5, 4.3), layout="constrained")
    axes = figure.add_subplot(xlabel="video", ylabel="text")
    image = axes.imshow(
        scores[np.ix_(shown, shown)],
        interpolation="none",
        extent=(0.5, size + 0.5, size + 0.5, 0.5),
    )
    # Two strokes outside the corners show where the diagonal is, even when scores don't.
    for begin, end in ((-0.05, 0), (1, 1.05)):
        axes.plot(
            (begin, end),
            (1 - begin, 1 - end),
            color=pages.INK,
            transform=axes.transAxes,
            clip_on=False,
        )
    axes.locator_params(integer=True)
    axes.xaxis.tick_top()  # out of the way of the lower stroke
    axes.xaxis.set_label_position("top")
    figure.colorbar(image, label="score", shrink=0.85)
    return figure


def _recall_curve(ranks: Mapping[str, np.ndarray]) -> Figure:
    """The fraction of queries answered among the first K, for every K; `ranks` by direction."""
    size = max(len(rank) for rank in ranks.values())
    depths = np.arange(1, size + 1)
    figure = Figure(figsize=(5, 4.3), layout="constrained")
    axes = figure.add_subplot(xscale="log", xlabel="K", ylabel="right one among the first K")
    for (direction, rank), colour in zip(ranks.items(), pages.COLOURS, strict=True):
        axes.step(
            depths, (rank <= depths[:, None]).mean(axis=1), colour, where="post", label=direction
        )
    axes.plot(depths, depths / size, color=pages.INK, linestyle=":", label="chance")
    axes.set_xlim(1, max(size, 2))
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_formatter(LogFormatter())
    axes.xaxis.set_minor_formatter(LogFormatter())
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(color=pages.INK, alpha=0.15)
    axes.legend(frameon=False, labelcolor=pages.INK)
    return figure
