"""Action segmentation on COIN as published: 8 epochs, one video per step, windows of 32 s.

    python train.py --config=configs/coin.py --config.init_from=… --workdir=…

Zero-shot, against the names of the classes:

    python evaluate.py --config=configs/coin.py --model=PRETRAINED/export --out=…
"""

from ml_collections import ConfigDict

from configs import finetuning


def get_config() -> ConfigDict:
    config = finetuning.get_config()
    config.sampler = ConfigDict()
    config.sampler.name = "labelled_windows"
    config.sampler.clips_per_record = 16  # windows; a COIN video has 15 on average
    config.sampler.stride = config.model.get_oneway_ref("max_video_len") // 4

    config.batch_size = config.sampler.get_oneway_ref("clips_per_record")
    config.num_epochs = 8.0

    config.data.name = "coin"

    config.task = ConfigDict({"name": "segmentation"})

    config.eval.batch_size = 32
    config.eval.stride = config.model.get_oneway_ref("max_video_len") // 2
    return config
