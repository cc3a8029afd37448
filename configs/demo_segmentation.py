r"""Action segmentation on the demo data set: labels every second with its action, like COIN.

    python train.py --config=configs/demo_segmentation.py --config.init_from=PRETRAINED/export \
        --workdir=…
"""

from ml_collections import ConfigDict

from configs import demo_finetuning


def get_config() -> ConfigDict:
    config = demo_finetuning.timed_annotations()
    config.task = ConfigDict({"name": "segmentation"})

    config.sampler = ConfigDict()
    config.sampler.name = "labelled_windows"
    config.sampler.clips_per_record = 1
    config.sampler.stride = config.model.get_oneway_ref("max_video_len") // 2

    config.eval.stride = config.model.get_oneway_ref("max_video_len") // 2
    return config
