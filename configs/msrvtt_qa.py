"""Multiple-choice questions of MSR-VTT as published: 5 epochs of V2T retrieval.

python train.py --config=configs/msrvtt_qa.py --config.init_from=… --workdir=…
"""

from ml_collections import ConfigDict

from configs import finetuning


def get_config() -> ConfigDict:
    config = finetuning.get_config()
    config.batch_size = 128
    config.num_epochs = 5.0

    config.data.name = "msrvtt/multiple-choice"

    config.task = ConfigDict()
    config.task.name = "question_answering"
    config.task.isolated_layers = config.model.get_oneway_ref("num_layers")
    config.task.num_answers = 5

    config.eval.field = "choices"

    config.sampler = ConfigDict({"name": "descriptions"})
    return config
