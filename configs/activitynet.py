"""Paragraph-to-video retrieval on ActivityNet Captions: a query is all sentences of a video.

    python train.py --config=configs/activitynet.py --config.init_from=… --workdir=…

This data set is not in the papers of VLM and VideoCLIP, so these settings are ours. Videos last
two minutes and paragraphs have fifty words, so the model sees more of both than elsewhere.
"""

from ml_collections import ConfigDict

from configs import finetuning


def get_config() -> ConfigDict:
    config = finetuning.get_config()
    config.batch_size = 128
    config.num_epochs = 10.0

    config.data.name = "activitynet"

    config.task = ConfigDict()
    config.task.name = "retrieval"
    config.task.isolated_layers = config.model.get_oneway_ref("num_layers")
    config.task.direction = "both"
    config.task.negatives = "global"  # or "device"

    config.sampler = ConfigDict({"name": "descriptions"})

    config.model.max_video_len = 192
    config.model.max_len = config.model.get_oneway_ref("max_video_len") + 128

    config.eval.split = "val_1"
    config.eval.field = "descriptions"
    return config
