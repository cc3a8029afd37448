"""Text-video retrieval on MSR-VTT (1k-A) as published: 10 epochs in batches of 256.

python train.py --config=configs/msrvtt.py --config.init_from=… --workdir=…
"""

from ml_collections import ConfigDict

from configs import finetuning


def get_config() -> ConfigDict:
    config = finetuning.get_config()
    config.batch_size = 256
    config.num_epochs = 10.0

    config.data.name = "msrvtt/1k-a"

    config.task = ConfigDict()
    config.task.name = "retrieval"
    config.task.isolated_layers = config.model.get_oneway_ref("num_layers")
    config.task.direction = "t2v"
    config.task.negatives = "global"  # or "device"

    config.sampler = ConfigDict({"name": "descriptions"})

    config.eval.field = "descriptions"
    return config
