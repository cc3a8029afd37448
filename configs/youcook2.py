"""Text-video retrieval on the clips of YouCook2 as published: 10 epochs in batches of 128.

python train.py --config=configs/youcook2.py --config.init_from=… --workdir=…
"""

from ml_collections import ConfigDict

from configs import finetuning


def get_config() -> ConfigDict:
    config = finetuning.get_config()
    config.batch_size = 128
    config.num_epochs = 10.0

    config.data.name = "youcook2/howto100m-pickles"

    config.task = ConfigDict()
    config.task.name = "retrieval"
    config.task.isolated_layers = config.model.get_oneway_ref("num_layers")
    config.task.direction = "t2v"
    config.task.negatives = "global"  # or "device"

    # One clip per video in a batch, so that no negative comes from the same video.
    config.sampler = ConfigDict()
    config.sampler.name = "timed_texts"
    config.sampler.field = "clips"
    config.sampler.clips_per_record = 1

    config.eval.split = "validation"
    config.eval.field = "clips"
    return config
