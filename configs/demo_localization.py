r"""Step localisation on the demo data set: one second for each of eight steps, like CrossTask.

    python train.py --config=configs/demo_localization.py --config.init_from=PRETRAINED/export \
        --workdir=…

It learns from few videos. `configs/demo_localization.py:all` learns from all of them, for search.
"""

from ml_collections import ConfigDict

from configs import demo_finetuning
from vtmask.errors import check_choice


def get_config(videos: str = "") -> ConfigDict:
    check_choice("--config=configs/demo_localization.py:VIDEOS", videos, ("", "all"))
    config = demo_finetuning.timed_annotations()
    if videos == "all":
        config.data.split, config.num_steps = "train", 800

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
