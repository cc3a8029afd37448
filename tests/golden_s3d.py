"""Makes tests/golden/s3d_gain.npz: `python tests/golden_s3d.py S3D_HOWTO100M`.

S3D_HOWTO100M is a clone of https://github.com/antoine77340/S3D_HowTo100M, the published network.
With the weights of s3d.npz the frames change the embedding by 1e-5 of its largest value, so an
error in the first layers would not show. Convolutions `GAIN` times as strong raise this to 0.2.

PyTorch 2.13 made the present file.
"""

import json
import sys
from pathlib import Path

import golden_weights
import numpy as np
import torch

GAIN = 1.7
GOLDEN = Path(__file__).parent / "golden"


def main(folder: str) -> None:
    sys.path.insert(0, folder)
    from s3dg import S3D

    case = np.load(GOLDEN / "s3d.npz")
    weights = golden_weights.s3d(json.loads(str(case["meta"])), GAIN)
    of_video = {key: value for key, value in weights.items() if not key.startswith("text_module")}
    network = S3D(str(GOLDEN / "s3d_dict.npy")).eval()
    state = {key: torch.from_numpy(np.asarray(value)) for key, value in of_video.items()}
    network.load_state_dict(state, strict=False)  # without the text module
    frames = torch.from_numpy(case["frames"]).permute(0, 4, 1, 2, 3).contiguous()
    with torch.no_grad():
        outputs = network(frames.float() / 255)
    arrays = {name: outputs[name].numpy() for name in ("video_embedding", "mixed_5c")}
    np.savez_compressed(GOLDEN / "s3d_gain.npz", gain=np.array(GAIN), **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
