"""Moment retrieval on ActivityNet Captions: finds the part of a video that a sentence describes.

python train.py --config=configs/activitynet_moments.py --config.init_from=… --workdir=…
"""

from ml_collections import ConfigDict

from configs import charades_sta


def get_config() -> ConfigDict:
    config = charades_sta.get_config()
    config.data.name = "activitynet"
    config.eval.split = "val_2"
    return config
