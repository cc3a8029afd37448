"""Moment retrieval on DiDeMo, zero-shot as published: ranks 21 moments for each sentence.

    python evaluate.py --config=configs/didemo.py --model=PRETRAINED/export --out=…

Training is an addition: it pairs complete videos with one of their sentences each.
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
