"""Reports the outcome of every video of a build: counted while records are made, then written."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from vtmask import pages
from vtmask.datasets.captions import Statistics
from vtmask.errors import UserError

_WORKING_FOLDER = "build"
_COUNTS = "counts.json"
_SPLITS = ("train", "validation", "test")  # these come first, in this order
_SHOWN = 200  # skipped videos with reasons that the page shows for each split
_FIGURES = {
    "video_seconds": ("Length of a video", "seconds", "videos"),
    "captions": ("Captions of a video", "captions", "videos"),
    "seconds_per_caption": ("Length of a caption", "seconds", "captions"),
    "caption_seconds": ("Captioned time of a video", "seconds", "videos"),
    "words_per_video_second": ("Words per second of video", "words", "videos"),
    "words_per_caption_second": ("Words per second of captions", "words", "videos"),
}


@dataclass
class Counts:
    """The outcome of a number of videos; `+` combines two.

    Attributes:
      videos: how many have a record.
      skipped: id and reason of every video without a record.
      problems: reason → number of captions and annotations that were dropped, cut or repaired.
      unread: for each file of a used video that was left out: video id, and the file and reason.
      before, after: captions before and after de-duplication; `after` stays empty without it.
    """

    videos: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)
    unread: list[tuple[str, str]] = field(default_factory=list)
    before: Statistics = field(default_factory=Statistics)
    after: Statistics = field(default_factory=Statistics)

    def __add__(self, other: "Counts") -> "Counts":
        total = Counts()
        total += self
        total += other
        return total

    def __iadd__(self, other: "Counts") -> "Counts":
        self.videos += other.videos
        self.skipped += other.skipped  # not a new list for each of a million videos
        self.problems += other.problems
        self.unread += other.unread
        self.before += other.before
        self.after += other.after
        return self

    def to_json(self) -> dict[str, Any]:
        skipped = sorted(self.skipped)
        return {
            "videos": self.videos,
            "num_skipped": len(skipped),
            "reasons": dict(Counter(kind(reason) for _, reason in skipped).most_common()),
            "dropped_or_cut": dict(sorted(self.problems.items())),
            "files_left_out": dict(Counter(kind(why) for _, why in self.unread).most_common()),
            "captions": self.before.to_json(),
            "captions_deduplicated": self.after.to_json(),
            "skipped": [{"video_id": name, "reason": why} for name, why in skipped],
            "left_out": [{"video_id": name, "reason": why} for name, why in sorted(self.unread)],
        }

    def write(self, folder: Path) -> None:
        """Stores the counts for `write` to collect; a UserError if no video can be used."""
        if not self.videos:
            first = "; the first: video {}: {}".format(*self.skipped[0]) if self.skipped else ""
            raise UserError(
                f"split {folder.name}: none of its {len(self.skipped)} videos can be used{first}"
            )
        (folder / _COUNTS).write_text(json.dumps(self.to_json()))


def kind(reason: str) -> str:
    """Strips file names and numbers, which differ between videos, from a reason."""
    return re.sub(r"\d+(\.\d+)?", "N", reason.split(": ", 1)[-1])


def working_folder(data_path: Path, split: str) -> Path:
    """Creates and returns the folder of a split's files until the build is finished."""
    folder = data_path / _WORKING_FOLDER / split
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write(data_path: Path, name: str) -> None:
    """Writes the counts of a build that has just finished to build_report.json and .html.

    The JSON maps each split to `Counts.to_json`, with every skipped video. The page summarises it.
    """
    folder = data_path / _WORKING_FOLDER
    if not folder.exists():
        return  # the data set had been built before
    files = sorted(folder.glob(f"*/{_COUNTS}"), key=lambda path: _place(path.parent.name))
    splits = {path.parent.name: json.loads(path.read_text()) for path in files}
    (data_path / "build_report.json").write_text(json.dumps(splits, indent=2) + "\n")
    (data_path / "build_report.html").write_text(_page(name, splits), encoding="utf-8")
    shutil.rmtree(folder)


def _place(split: str) -> tuple[int, str]:
    return (_SPLITS.index(split) if split in _SPLITS else len(_SPLITS)), split


def _page(name: str, splits: Mapping[str, Any]) -> str:
    statistics = {split: _statistics(counts) for split, counts in splits.items()}
    return pages.render(
        "datasets/report.html.j2",
        title=f"Build of {name}",
        splits=splits,
        statistics=statistics,
        plots={
            split: {figure: pages.plot(_histogram(figure, of)) for figure in _FIGURES}
            for split, of in statistics.items()
        },
        figures=_FIGURES,
        shown=_SHOWN,
    )


def _statistics(counts: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Returns the caption statistics by stage of the build."""
    if not counts["captions_deduplicated"]["captions"]["count"]:
        return {"captions": counts["captions"]}
    return {
        "before de-duplication": counts["captions"],
        "after de-duplication": counts["captions_deduplicated"],
    }


def _histogram(name: str, stages: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Plots one figure at each stage: the first as an area, the second as a line over it."""
    _, unit, of = _FIGURES[name]
    figure = Figure(figsize=(4.4, 2.6), layout="constrained")
    axes = figure.add_subplot(xlabel=unit, ylabel=f"share of {of}")
    distributions = [stage[name] for stage in stages.values()]
    width, bins = distributions[0]["bin_width"], len(distributions[0]["histogram"])
    last = max((i for f in distributions for i, n in enumerate(f["histogram"]) if n), default=0)
    edges = [i * width for i in range(max(last + 2, 10))][: bins + 1]
    for number, (stage, values) in enumerate(zip(stages, distributions, strict=True)):
        shares = [n / max(values["count"], 1) for n in values["histogram"][: len(edges) - 1]]
        look: dict[str, Any] = {"fill": True, "alpha": 0.45} if number == 0 else {"linewidth": 1.5}
        axes.stairs(shares, edges, color=pages.COLOURS[number], label=stage, **look)
    axes.set_xlim(0, edges[-1])
    axes.set_ylim(0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=width >= 1))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    if last == bins - 1:
        _name_last_bin(axes, edges)
    axes.grid(color=pages.INK, alpha=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    if len(stages) > 1:
        figure.legend(
            loc="outside upper left", ncols=2, frameon=False, labelcolor=pages.INK, fontsize="small"
        )
    return figure


def _name_last_bin(axes: Any, edges: list[float]) -> None:
    """Labels the last bin ≥, since it holds all larger values."""
    end = edges[-1]
    ticks = [tick for tick in axes.get_xticks() if 0 <= tick < 0.85 * end]
    labels = [f"{tick:g}" for tick in ticks]
    axes.set_xticks([*ticks, (edges[-2] + end) / 2], [*labels, f"≥ {edges[-2]:g}"])
