"""Moment retrieval on the demo data set: finds the 5-second segments of a text, like DiDeMo.

python train.py --config=configs/demo_moments.py --config.init_from=PRETRAINED/export --workdir=…
"""

from ml_collections import ConfigDict

from configs import demo_finetuning


def get_config() -> ConfigDict:
    config = demo_finetuning.timed_annotations()
    config.task = ConfigDict()
    config.task.name = "moment_retrieval"
    config.task.isolated_layers = config.model.get_oneway_ref("num_layers")

    config.sampler = ConfigDict()
    config.sampler.name = "timed_texts"
    config.sampler.field = "clips"
    config.sampler.clips_per_record = 1
    return config
