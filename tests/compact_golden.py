"""Makes tests/golden from the full golden cases: `python tests/compact_golden.py FULL_DIR`.

Leaves out weights, which tests/golden.py rebuilds; gradients except their norms; all hidden states
but the last; and the logits and hidden states of most videos in metrics.json.

`python tests/compact_golden.py --wordpiece FOLDER` makes tests/golden/wordpiece.json again, in an
environment with transformers 3.4.0; FOLDER holds bert-base-uncased's vocab.txt and config.json.
"""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

BIAS = "param/mm_encoder.cls.predictions.bias"
IGNORED = -100
LEFT_OUT = r"param/|(mtm|mfmmlm)_grad/|final/"
ARRAYS = (
    *("attention_masks.npz", "s3d.npz", "vlm_joint.npz", "vlm_pretrain.npz", "vlm_trajectory.npz"),
)


def main(full: Path, compact: Path) -> None:
    compact.mkdir(exist_ok=True)
    for name in ARRAYS:
        case = np.load(full / name)
        kept = {key: case[key] for key in case.files if not re.match(LEFT_OUT, key)}
        if "hidden_states" in kept:
            kept["hidden_states"] = kept["hidden_states"][-1:]
        np.savez_compressed(compact / name, **kept)
    cut_windows(full, compact)
    cut_clips(np.load(full / "vlm_caption.npz"), compact / "vlm_caption.npz")
    cut_inputs(np.load(full / "videoclip.npz"), compact / "videoclip.npz")
    for name in ("caption_dedup.json", "clip_sampling.json", "s3d_dict.npy", "sequences.json"):
        shutil.copy(full / name, compact / name)
    (compact / "mmpt_shards").mkdir(exist_ok=True)
    for path in (full / "mmpt_shards").iterdir():
        if "train" not in path.name:
            shutil.copy(path, compact / "mmpt_shards" / path.name)
    metrics = compact_metrics(json.loads((full / "metrics.json").read_text()))
    (compact / "metrics.json").write_text(json.dumps(metrics, separators=(",", ":")))


def cut_windows(full: Path, compact: Path) -> None:
    """Keeps two windows of the separate-modality cases, and the first 40 of 779 classes."""
    for name, rows in {
        "share": [0, 1],
        "vlm_segmentation": [0, 2],
        "vlm_localization": [0, 2],
    }.items():
        case = np.load(full / f"{name}.npz")
        kept = {key: case[key] for key in case.files if not re.match(LEFT_OUT, key)}
        if name == "vlm_localization":  # a row of its logits is a valid second
            window = np.nonzero(kept["vmasks"])[0]
            kept["logits"] = kept["logits"][np.isin(window, rows)]
            cut = ("vfeats", "vmasks")
        else:
            cut = tuple(key for key in kept if key != "meta")
        kept |= {key: kept[key][rows] for key in cut}
        if name == "vlm_segmentation":
            kept["logits"] = kept["logits"][..., :40]
        np.savez_compressed(compact / f"{name}.npz", **kept)


def cut_inputs(case: Any, path: Path) -> None:
    """Keeps two rows of VideoCLIP's hidden states; its inputs are those of vlm_joint.npz."""
    complete = ("meta", "pooled_video", "pooled_text", "loss")
    kept = {key: case[key] for key in case.files if key in complete or key.startswith("gradnorm/")}
    kept |= {key: case[key][:2] for key in ("hidden_video", "hidden_text")}
    np.savez_compressed(path, **kept)


def compact_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    """Keeps all inputs of metrics over a set, and the short inputs of metrics per video."""
    videos = [
        {key: value for key, value in video.items() if key != "logits" or len(value) < 40}
        for video in metrics["crosstask"]["videos"]
    ]
    return metrics | {
        "crosstask": metrics["crosstask"] | {"videos": videos},
        "window_merge": [c for c in metrics["window_merge"] if c["video_len"] in (5, 33)],
        "didemo_ranking": {key: rows[1:2] for key, rows in metrics["didemo_ranking"].items()},
    }


def cut_clips(case: Any, path: Path) -> None:
    """Keeps captioning's last three clips, every fourth row of their logits (`logit_rows` says
    which), the loss of all their rows, and the decoder's bias, which follows no rule."""
    clips = slice(-3, None)
    kept = {key: case[key] for key in ("meta", "max_decode_length", BIAS)}
    for key in case.files:
        if case[key].ndim and len(case[key]) == len(case["caps"]):
            kept[key] = case[key][clips]
    labels = kept["text_label"][kept["text_label"] != IGNORED]
    logits = case["logits"][-len(labels) :]
    right = np.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    kept["loss"] = np.mean(np.logaddexp.reduce(logits, axis=1) - right)
    kept["logit_rows"] = np.arange(0, len(labels), 4)
    kept["logits"] = logits[kept["logit_rows"]]
    np.savez_compressed(path, **kept)


def wordpiece(published: str, path: Path) -> None:
    """Makes cases [text, pieces, decoded] of the published tokenizer, and their vocabulary.

    The texts are those in the file. Greedy matching takes the same pieces from this small
    vocabulary, which has exactly the pieces that were taken.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(published, use_fast=True)
    cases = []
    for text, *_ in json.loads(path.read_text())["cases"]:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        pieces = " ".join(tokenizer.convert_ids_to_tokens(ids))
        cases.append([text, pieces, tokenizer.decode(ids, skip_special_tokens=True)])
    seen = {piece for _, pieces, _ in cases for piece in pieces.split()}
    vocabulary = " ".join(sorted(seen.union(tokenizer.all_special_tokens)))
    rows = ",\n".join(map(json.dumps, cases))
    path.write_text(f'{{"vocabulary": {json.dumps(vocabulary)},\n"cases": [\n{rows}\n]}}\n')


if __name__ == "__main__":
    COMPACT = Path(__file__).parent / "golden"
    if sys.argv[1] == "--wordpiece":
        wordpiece(sys.argv[2], COMPACT / "wordpiece.json")
    else:
        main(Path(sys.argv[1]), COMPACT)
