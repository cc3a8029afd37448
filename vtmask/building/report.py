"""What became of every video of a build: counted while records are made, written as a report."""

import json
import re
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vtmask.building.captions import Statistics
from vtmask.errors import UserError

_WORKING_FOLDER = "build"
_COUNTS = "counts.json"


@dataclass
class Counts:
    """What became of a number of videos; sums of two count both's.

    Attributes:
      videos: how many have a record.
      skipped: id and reason of every video that has none.
      problems: captions and annotations that were dropped or cut, by reason.
      before, after: captions before and after de-duplication; `after` stays empty without it.
    """

    videos: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)
    before: Statistics = field(default_factory=Statistics)
    after: Statistics = field(default_factory=Statistics)

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.videos + other.videos,
            self.skipped + other.skipped,
            self.problems + other.problems,
            self.before + other.before,
            self.after + other.after,
        )

    def to_json(self) -> dict[str, Any]:
        skipped = sorted(self.skipped)
        return {
            "videos": self.videos,
            "num_skipped": len(skipped),
            "reasons": dict(Counter(kind(reason) for _, reason in skipped).most_common()),
            "dropped_or_cut": dict(sorted(self.problems.items())),
            "captions": self.before.to_json(),
            "captions_deduplicated": self.after.to_json(),
            "skipped": [{"video_id": name, "reason": why} for name, why in skipped],
        }

    def write(self, folder: Path) -> None:
        """Leaves the counts for `write`; a UserError where no video can be used."""
        if not self.videos:
            first = "; the first: video {}: {}".format(*self.skipped[0]) if self.skipped else ""
            raise UserError(
                f"split {folder.name}: none of its {len(self.skipped)} videos can be used{first}"
            )
        (folder / _COUNTS).write_text(json.dumps(self.to_json()))


def kind(reason: str) -> str:
    """A reason without what is different for every video: file names and numbers."""
    return re.sub(r"\d+(\.\d+)?", "N", reason.split(": ", 1)[-1])


def working_folder(data_path: Path, split: str) -> Path:
    """Where a split's files lie until the build is finished."""
    folder = data_path / _WORKING_FOLDER / split
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write(data_path: Path, name: str) -> None:
    """Gathers the counts of a build that has just finished into build_report.json and .html."""
    folder = data_path / _WORKING_FOLDER
    if not folder.exists():
        return  # it had been built before
    counts = {path.parent.name: json.loads(path.read_text()) for path in folder.glob(f"*/{_COUNTS}")}
    (data_path / "build_report.json").write_text(json.dumps(counts, indent=2) + "\n")
    shutil.rmtree(folder)
