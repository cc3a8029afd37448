"""Step localisation on the demo data set: finds a second for each of eight steps (CrossTask).

train.py --config=configs/demo_localization.py --config.init_from=PRETRAINED/export --workdir=…
"""

from ml_collections import ConfigDict

from configs import demo_finetuning


def get_config() -> ConfigDict:
    config = demo_finetuning.timed_annotations()
    config.task = ConfigDict()
    config.task.name = "step_localization"
    config.task.isolated_layers = config.model.get_oneway_ref("num_layers")

    config.sampler = ConfigDict()
    config.sampler.name = "step_windows"
    config.sampler.windows = 1
    config.sampler.max_steps = 8
    config.sampler.stride = config.model.get_oneway_ref("max_video_len") // 2

    config.eval.stride = config.model.get_oneway_ref("max_video_len") // 2
    return config
