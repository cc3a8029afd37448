"""An HTML page about a step's batch: its clips with frames and words, its masks, its lengths."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure

from vtmask import pages, thumbnails
from vtmask.errors import UserError
from vtmask.inspection import masks
from vtmask.inspection.clips import ShownClip
from vtmask.models import VLMConfig
from vtmask.thumbnails import Thumbnail

_THUMBNAIL_HEIGHT = 72  # pixels


@dataclass(frozen=True)
class Squares:
    """A grid of coloured squares, as an SVG path for each kind of square."""

    rows: int
    columns: int
    paths: Mapping[int, str]


def render(
    title: str,
    facts: Mapping[str, object],
    lengths: Mapping[str, np.ndarray],
    kinds: np.ndarray,
    attention: Mapping[str, np.ndarray],
    clips: Sequence[ShownClip],
    model_config: VLMConfig,
) -> str:
    """Renders the page as HTML.

    Args:
      lengths: "frames" and "tokens" of each clip, int [N] each.
      kinds: of the batch's positions, int [B, L], as `masks.position_kinds` returns them.
      attention: by the name of the layers, int [L, L], as `masks.attention_masks` returns them.
    """
    return pages.render(
        "inspection/page.html.j2",
        title=title,
        facts=facts,
        lengths={
            name: (pages.plot(_plot(name, counts)), counts) for name, counts in lengths.items()
        },
        kinds=masks.KINDS,
        positions=squares(kinds),
        attention={layers: squares(mask) for layers, mask in attention.items()},
        model_config=model_config,
        clips=[(clip, *frames(clip)) for clip in clips],
    )


def squares(cells: np.ndarray) -> Squares:
    """Draws squares of numbered kinds, int [rows, columns]; kind 0 is left blank."""
    paths: dict[int, list[str]] = {}
    for y, row in enumerate(cells):
        starts = np.flatnonzero(np.diff(row, prepend=-1)).tolist()
        for x, end in pairwise([*starts, len(row)]):
            paths.setdefault(int(row[x]), []).append(f"M{x} {y}h{end - x}v1h{x - end}z")
    paths.pop(0, None)
    joined = {kind: "".join(path) for kind, path in sorted(paths.items())}
    return Squares(rows=len(cells), columns=cells.shape[1], paths=joined)


def frames(clip: ShownClip) -> tuple[list[Thumbnail], str]:
    """Returns the frame at the start of each feature, or no frames and the reason."""
    if clip.video is None:
        return [], "the data set names no video file"
    if clip.seconds is None:
        return [], "the clip's features occur more than once in the video"
    seconds = np.linspace(*clip.seconds, len(clip.frames), endpoint=False).tolist()
    try:
        return thumbnails.at(clip.video, seconds, _THUMBNAIL_HEIGHT), ""
    except UserError as error:
        return [], str(error)


def _plot(name: str, lengths: np.ndarray) -> Figure:
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.add_subplot(xlabel=f"{name} per clip", ylabel="clips")
    counts = np.bincount(lengths)
    axes.bar(range(len(counts)), counts, width=0.9, color=pages.COLOURS[name == "tokens"])
    axes.locator_params(integer=True)
    axes.grid(axis="y", color=pages.INK, alpha=0.15)
    return figure
