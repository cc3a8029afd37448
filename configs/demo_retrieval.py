"""Text-video retrieval on the demo data set, from a pre-trained model or from scratch.

    train.py --config=configs/demo_retrieval.py --config.init_from=PRETRAINED/export --workdir=…
"""

from ml_collections import ConfigDict

from configs import demo


def get_config() -> ConfigDict:
    config = demo.get_config()
    config.num_steps = 200

    config.task = ConfigDict()
    config.task.name = "retrieval"
    config.task.isolated_layers = 4
    config.task.direction = "t2v"

    config.sampler = ConfigDict()
    config.sampler.clips_per_record = 1

    config.optim.lr = 5e-4
    config.optim.warmup_steps = 20

    config.eval = ConfigDict({"split": "test", "batch_size": 50})
    return config
