"""Moment retrieval on Charades-STA: finds the part of a video that a sentence describes.

    python train.py --config=configs/charades_sta.py --config.init_from=… --workdir=…

Training pairs a sentence with its part of the video; a batch has one pair per video. This data set
is not in the papers of VLM and VideoCLIP, so these settings are ours. Zero-shot:

    python evaluate.py --config=configs/zeroshot.py:charades_sta --model=PRETRAINED/export --out=…
"""

from ml_collections import ConfigDict

from configs import finetuning


def get_config() -> ConfigDict:
    config = finetuning.get_config()
    config.batch_size = 128
    config.num_epochs = 10.0

    config.data.name = "charades_sta"

    config.task = ConfigDict()
    config.task.name = "moment_retrieval"
    config.task.isolated_layers = config.model.get_oneway_ref("num_layers")

    config.sampler = ConfigDict()
    config.sampler.name = "timed_texts"
    config.sampler.field = "clips"
    config.sampler.clips_per_record = 1

    config.eval.stride = config.model.get_oneway_ref("max_video_len") // 2
    return config
