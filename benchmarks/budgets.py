"""How large a budget must be, and how many batches it holds on many devices.

    python benchmarks/budgets.py
    python benchmarks/budgets.py --budget='(.7, .25, .65)'

Clips have the lengths that pre-training draws (`clip_lengths.npy`, of `benchmarks/pipeline.py`),
and masks are those of pre-training. Prints, for a device's part of a batch, the shares that are
enough for 50, 90, 99 and 99.9 % of batches; and for several numbers of devices, the share of
batches that the budget holds. A budget must hold the parts of all devices.
"""

import argparse
import ast
import sys
from pathlib import Path

import jax
import numpy as np
import training
from ml_collections import ConfigDict
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # where configs are

from configs import vlm
from vtmask import masking, sequence, unpadding
from vtmask.models import VLMConfig
from vtmask.tasks.pretrain import Budget, Pretrain

CLIPS = 2**16
PARTS = (16, 32, 64, 256, 512)  # clips per device
LAYOUTS = ((256, 1), (64, 4), (32, 8), (16, 16), (64, 64), (64, 256))  # clips per device, devices
QUANTILES = (0.5, 0.9, 0.99, 0.999)
BATCHES = 4000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    recipe: ConfigDict = vlm.get_config()
    parser.add_argument("--budget", type=ast.literal_eval, default=recipe.task.budgets[0])
    budget = Budget(*parser.parse_args().budget)
    rows, sizes = counts()
    rng = np.random.default_rng(0)

    print("| clips per device | positions | masked | frames |\n|---:|---|---|---|")
    for clips in PARTS:
        drawn = rng.choice(rows, (BATCHES, clips)).sum(axis=1) / (clips * sizes)
        shares = np.quantile(drawn, QUANTILES, axis=0).T
        cells = (" ".join(f"{share:.2f}".lstrip("0") for share in of_kind) for of_kind in shares)
        print(f"| {clips} | " + " | ".join(cells) + " |")

    print(
        f"\n| clips per device | devices | batches that {tuple(budget)} holds |\n|---:|---:|---:|"
    )
    for clips, devices in LAYOUTS:
        slots = [
            unpadding.num_slots(share, int(clips * size))
            for share, size in zip(budget, sizes, strict=True)
        ]
        held = 0
        for _ in tqdm(range(BATCHES), f"{devices} devices", leave=False):
            parts = rng.choice(rows, (devices, clips)).sum(axis=1)
            held += bool((parts <= slots).all())
        print(f"| {clips} | {devices} | {held / BATCHES:.1%} |")


def counts() -> tuple[np.ndarray, np.ndarray]:
    """Counts valid positions, masked positions and frames of clips: int [CLIPS, 3], and sizes [3].

    A size is the largest possible count of a clip.
    """
    config = VLMConfig(feature_size=1)  # features are not looked at
    batch = training.make_batch(config, CLIPS, 0)
    masked = masking.mask(jax.random.key(0), batch, Pretrain().scheme, config)
    flags = (
        sequence.valid(batch["video_mask"], batch["text_mask"]),
        sequence.join_with(False, masked.video_masked, masked.text_masked),
        batch["video_mask"],
    )
    return (
        np.stack([np.asarray(of_kind).sum(axis=1) for of_kind in flags], axis=1),
        np.array([of_kind.shape[1] for of_kind in flags]),
    )


if __name__ == "__main__":
    main()
