"""Multiple-choice questions on the demo data set: chooses a video's description among five.

Training is that of retrieval, with videos as queries. The wrong answers describe other videos, as
in MSR-VTT. Those of `configs/demo_qa.py:hard` consist of the words of the right answer.

    python train.py --config=configs/demo_qa.py --config.init_from=PRETRAINED/export --workdir=…
"""

from ml_collections import ConfigDict

from configs import demo_finetuning
from vtmask.errors import check_choice


def get_config(questions: str = "") -> ConfigDict:
    check_choice("--config=configs/demo_qa.py:QUESTIONS", questions, ("", "hard"))
    config = demo_finetuning.get_config()
    config.num_steps = 480
    config.checkpoint.every = 240

    config.task = ConfigDict()
    config.task.name = "question_answering"
    config.task.isolated_layers = config.model.get_oneway_ref("num_layers")

    config.sampler = ConfigDict({"name": "descriptions"})

    config.model.max_len = 84

    config.eval.field = "hard_choices" if questions == "hard" else "choices"
    return config
