"""Multiple-choice questions on the demo data set: chooses a video's description among five.

Trained as V2T retrieval.

    train.py --config=configs/demo_qa.py --config.init_from=PRETRAINED/export --workdir=…
"""

from ml_collections import ConfigDict

from configs import demo_finetuning


def get_config() -> ConfigDict:
    config = demo_finetuning.get_config()
    config.num_steps = 480
    config.checkpoint.every = 240

    config.task = ConfigDict()
    config.task.name = "question_answering"
    config.task.isolated_layers = config.model.get_oneway_ref("num_layers")

    config.sampler = ConfigDict({"name": "descriptions"})

    config.model.max_len = 84
    return config
