"""Makes tests/golden from the full golden cases: `python tests/compact_golden.py FULL_DIR`.

Leaves out weights (tests/golden.py rebuilds them), gradients but for their norms, and all hidden
states but the last.
"""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np

LEFT_OUT = r"param/|(mtm|mfmmlm)_grad/|final/"
ARRAYS = ("attention_masks.npz", "vlm_pretrain.npz", "vlm_trajectory.npz", "vlm_joint.npz")


def main(full: Path, compact: Path) -> None:
    compact.mkdir(exist_ok=True)
    for name in ARRAYS:
        case = np.load(full / name)
        kept = {key: case[key] for key in case.files if not re.match(LEFT_OUT, key)}
        if "hidden_states" in kept:
            kept["hidden_states"] = kept["hidden_states"][-1:]
        np.savez_compressed(compact / name, **kept)
    for name in ("clip_sampling.json", "sequences.json"):
        shutil.copy(full / name, compact / name)
    metrics = json.loads((full / "metrics.json").read_text())
    (compact / "metrics.json").write_text(json.dumps({"retrieval": metrics["retrieval"]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent / "golden")
