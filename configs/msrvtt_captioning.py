"""Captions for the videos of MSR-VTT, each scored against its 20 sentences.

The paper has no captioning of MSR-VTT; batches and epochs are those of configs/msrvtt.py.

python train.py --config=configs/msrvtt_captioning.py --config.init_from=… --workdir=…
"""

from ml_collections import ConfigDict

from configs import finetuning


def get_config() -> ConfigDict:
    config = finetuning.get_config()
    config.batch_size = 256
    config.num_epochs = 10.0

    config.data.name = "msrvtt/full"

    config.task = ConfigDict()
    config.task.name = "captioning"
    config.task.num_beams = 5
    config.task.length_penalty = 1.0
    config.task.max_decode_length = 24

    config.sampler = ConfigDict({"name": "descriptions"})

    config.eval.field = "descriptions"
    config.eval.sampled = False
    return config
