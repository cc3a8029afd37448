"""Captions for the steps of demo videos, as in YouCook2.

train.py --config=configs/demo_captioning.py --config.init_from=PRETRAINED/export --workdir=…
"""

from ml_collections import ConfigDict

from configs import demo_finetuning


def get_config() -> ConfigDict:
    config = demo_finetuning.timed_annotations()
    config.task = ConfigDict()
    config.task.name = "captioning"
    config.task.num_beams = 5
    config.task.length_penalty = 1.0
    config.task.max_decode_length = 32

    config.sampler = ConfigDict()
    config.sampler.name = "timed_texts"
    config.sampler.field = "clips"
    config.sampler.clips_per_record = 1

    config.eval.field = "clips"
    config.eval.sampled = False
    return config
