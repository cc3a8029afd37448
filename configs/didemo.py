"""Moment retrieval on DiDeMo, zero-shot as published: each sentence ranks 21 moments of its video.

    python evaluate.py --config=configs/didemo.py --model=PRETRAINED/export --out=…

Training is our addition. It pairs each complete video with one of its sentences.
"""

from ml_collections import ConfigDict, config_dict

from configs import finetuning


def get_config() -> ConfigDict:
    config = finetuning.get_config()
    config.batch_size = 128
    config.num_epochs = 10.0

    config.data.name = "didemo"

    config.task = ConfigDict()
    config.task.name = "moment_retrieval"
    config.task.isolated_layers = config_dict.placeholder(int)  # None: as in pre-training

    config.sampler = ConfigDict({"name": "descriptions"})
    return config
