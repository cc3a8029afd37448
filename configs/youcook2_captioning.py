"""Captions for the clips of YouCook2 as published: 10 epochs in batches of 128, 5 beams.

python train.py --config=configs/youcook2_captioning.py --config.init_from=… --workdir=…
"""

from ml_collections import ConfigDict

from configs import finetuning


def get_config() -> ConfigDict:
    config = finetuning.get_config()
    config.batch_size = 128
    config.num_epochs = 10.0

    config.data.name = "youcook2/default"

    config.task = ConfigDict()
    config.task.name = "captioning"
    config.task.num_beams = 5
    config.task.length_penalty = 1.0
    config.task.max_decode_length = 24

    config.sampler = ConfigDict()
    config.sampler.name = "timed_texts"
    config.sampler.field = "clips"
    config.sampler.clips_per_record = 1

    config.eval.split = "validation"
    config.eval.field = "clips"
    config.eval.sampled = False
    return config
