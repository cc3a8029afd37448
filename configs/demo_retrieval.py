"""Text-video retrieval on the demo data set, from a pre-trained model or from scratch.

Only 200 of the 600 narrated videos serve as described ones: narration is plenty, descriptions are
few, as between HowTo100M and the data sets with descriptions.

    train.py --config=configs/demo_retrieval.py --config.init_from=PRETRAINED/export --workdir=…
"""

from ml_collections import ConfigDict

from configs import demo


def get_config() -> ConfigDict:
    config = demo.get_config()
    config.num_steps = 120
    config.data.split = "train[:200]"

    config.task = ConfigDict()
    config.task.name = "retrieval"
    config.task.isolated_layers = config.model.num_layers
    config.task.direction = "t2v"

    config.sampler = ConfigDict({"name": "descriptions"})  # one clip a record, the whole video

    config.model.max_len = 84

    config.optim.lr = 5e-4
    config.optim.warmup_steps = 20

    config.log_every = 20
    config.checkpoint.every = 60
    config.eval = ConfigDict({"split": "validation", "batch_size": 50})
    return config
