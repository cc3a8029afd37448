"""Action segmentation on COIN as published: 8 epochs, a video a step, windows of 32 s.

    python train.py --config=configs/coin.py --config.init_from=… --workdir=…

Zero-shot, against the names of the classes: python evaluate.py --config=configs/coin.py
--model=PRETRAINED/export --out=…
"""

from ml_collections import ConfigDict

from configs import finetuning


def get_config() -> ConfigDict:
    config = finetuning.get_config()
    config.sampler = ConfigDict()
    config.sampler.name = "labelled_windows"
    config.sampler.clips_per_record = 16  # windows; a video of COIN's has 15 on average
    config.sampler.stride = 8

    config.batch_size = config.sampler.clips_per_record
    config.num_steps = 8 * 9_030  # epochs, videos

    config.data.name = "coin"

    config.task = ConfigDict({"name": "segmentation"})

    config.eval.batch_size = 32
    config.eval.stride = 16
    return config
