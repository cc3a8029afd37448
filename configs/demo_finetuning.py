"""What the demo's fine-tuning recipes share: data, steps, learning rate, evaluation.

Only 200 of the 600 narrated videos serve as annotated ones: narration is plenty, annotations are
few, as between HowTo100M and the data sets of its tasks.
"""

from ml_collections import ConfigDict

from configs import demo


def get_config() -> ConfigDict:
    config = demo.get_config()
    config.num_steps = 120
    config.data.split = "train[:200]"

    config.optim.lr = 5e-4
    config.optim.warmup_steps = 20

    config.log_every = 20
    config.checkpoint.every = 60

    config.eval = ConfigDict()
    config.eval.split = "validation"
    config.eval.batch_size = 50
    return config
