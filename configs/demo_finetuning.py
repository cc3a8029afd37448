"""Settings that the demo's fine-tuning recipes share: data, steps, learning rate, evaluation.

Narration is plentiful and annotations are few, as in HowTo100M and the data sets of its tasks: of
600 narrated videos, 200 have a description and 20 have annotated times.
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
    config.eval_every = 20
    config.checkpoint.every = 60

    config.eval = ConfigDict()
    config.eval.split = "validation"
    config.eval.batch_size = 50
    return config


def timed_annotations() -> ConfigDict:
    """Returns the settings of tasks that learn from annotated times."""
    config = get_config()
    config.data.split = "train[:20]"
    config.batch_size = 20
    config.num_steps = 400
    config.optim.lr = 1e-3
    config.log_every = 50
    config.eval_every = 100
    config.checkpoint.every = 200
    return config
