"""Makes manual folders for the folder builder, and builds them."""

from pathlib import Path
from typing import Any

import numpy as np

from data.folder.folder_dataset_builder import Builder, FolderConfig
from vtmask.datasets.entries import Entry, Skipped, Video

VTT = "WEBVTT\n\n00:01.000 --> 00:02.500\n{}\n"
SRT = "1\n00:00:01,000 --> 00:00:02,500\n{}\n"
JSON = '[{{"start": 1, "end": 2.5, "text": "{}"}}]'


def write(folder: Path, *names: str) -> None:
    """Writes a file for each name: `.npy` files hold features, all others contain their name."""
    forms = {".vtt": VTT, ".srt": SRT, ".json": JSON}
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npy":
            np.save(path, np.zeros((3, 512), np.float32))
        else:
            path.write_text(forms.get(path.suffix, "{}").format(name))


def splits(folder: Path, **fields: Any) -> dict[str, dict[str, Entry]]:
    config = FolderConfig(name="test", **fields)
    builder = Builder(config=config, data_dir=folder.parent / "data")
    return {
        split: {entry.video_id: entry for entry in entries}
        for split, entries in builder.splits(folder).items()
    }


def videos(folder: Path, **fields: Any) -> dict[str, Video]:
    actual = splits(folder, **fields)["train"]
    return {name: entry for name, entry in actual.items() if isinstance(entry, Video)}


def reasons(folder: Path) -> dict[str, str]:
    actual = splits(folder)["train"]
    return {name: entry.reason for name, entry in actual.items() if isinstance(entry, Skipped)}
