"""Writes feature and caption shards as MMPT's preprocessing does."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vtmask.tokenizers import CONTROL_SYMBOLS, WordPiece

CAPTIONS = "raw_caption_dedup.bert-base-uncased"
MOST_TOKENS = 32  # of a caption, as the published script keeps
VOCABULARY = WordPiece("\n".join([*CONTROL_SYMBOLS, *(f"w{i}" for i in range(595))]).encode())


def save(folder: Path, name: str, arrays: Sequence[Any], dtype: str, width: int) -> None:
    rows = [np.asarray(array, dtype).reshape(-1, width) for array in arrays]
    np.save(folder / f"{name}_starts.npy", np.cumsum([0] + [len(array) for array in rows]))
    np.save(folder / f"{name}_data.npy", np.concatenate(rows))


def padded(ids: Sequence[int]) -> list[int]:
    return [*ids, *[-1] * (4 - len(ids))]


def write(folder: Path, split: str, number: int, videos: dict[str, Any]) -> None:
    """Writes a shard of videos with features [seconds, 512] and captions (start, end, ids)."""
    features = [rows for rows, _ in videos.values()]
    captions_of_videos = [captions for _, captions in videos.values()]
    prefix = f"{CAPTIONS}.{split}_{number}"
    save(folder, f"{split}_{number}", features, "float16", 512)
    ids = [[padded(ids) for _, _, ids in captions] for captions in captions_of_videos]
    save(folder, f"{prefix}.caps_ids", ids, "int32", 4)
    times = [[time[:2] for time in captions] for captions in captions_of_videos]
    save(folder, f"{prefix}.startends", times, "float32", 2)
    path = folder / f"{split}_meta.pkl"
    meta = pickle.loads(path.read_bytes()) if path.exists() else {}
    path.write_bytes(pickle.dumps(meta | {number: list(videos)}))


def features(seconds: int) -> np.ndarray:
    return np.random.default_rng(seconds).normal(size=(seconds, 512)).astype(np.float16)


VIDEOS = {
    "a": (features(8), [(0.5, 2.25, [5, 6, 7]), (2, 12.5, [8])]),
    "b": (features(5), [(1, 1.5, [9, 10, 11, 12])]),
}
