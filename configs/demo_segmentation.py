"""Action segmentation on the demo data set: the action of every second, as COIN has it.

train.py --config=configs/demo_segmentation.py --config.init_from=PRETRAINED/export --workdir=…
"""

from ml_collections import ConfigDict

from configs import demo_finetuning


def get_config() -> ConfigDict:
    config = demo_finetuning.timed_annotations()
    config.task = ConfigDict({"name": "segmentation"})

    config.sampler = ConfigDict()
    config.sampler.name = "labelled_windows"
    config.sampler.clips_per_record = 1
    config.sampler.stride = 10

    config.eval.stride = 10
    return config
