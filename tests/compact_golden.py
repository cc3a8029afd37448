"""Makes tests/golden from the full golden cases: `python tests/compact_golden.py FULL_DIR`.

Leaves out weights (tests/golden.py rebuilds them), gradients but for their norms, and all hidden
states but the last.

`python tests/compact_golden.py --wordpiece FOLDER` makes tests/golden/wordpiece.json again, in an
environment with transformers 3.4.0; FOLDER holds bert-base-uncased's vocab.txt and config.json.
"""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np

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
    for name in ("caption_dedup.json", "clip_sampling.json", "s3d_dict.npy", "sequences.json"):
        shutil.copy(full / name, compact / name)
    (compact / "mmpt_shards").mkdir(exist_ok=True)
    for path in (full / "mmpt_shards").iterdir():
        if "train" not in path.name:
            shutil.copy(path, compact / "mmpt_shards" / path.name)
    metrics = json.loads((full / "metrics.json").read_text())
    (compact / "metrics.json").write_text(json.dumps({"retrieval": metrics["retrieval"]}))


def wordpiece(published: str, path: Path) -> None:
    """Cases [text, pieces, decoded] of the published tokenizer, and a vocabulary of their pieces.

    Texts are those that the file has. Greedy matching takes the same pieces from so small a
    vocabulary, as it lacks no piece that was taken and has none that was not.
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
