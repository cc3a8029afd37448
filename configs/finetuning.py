"""What fine-tuning on the public data sets shares: BERT-base sizes, the published optimizer.

Published learning rates decay over a million updates, so they are as good as constant after the
warm-up. Numbers of steps are those of the published epochs, from the numbers of samples that the
data sets have whole. Name a start: --config.init_from=PRETRAINED/export.
"""

from ml_collections import ConfigDict

from configs import vlm


def get_config() -> ConfigDict:
    config = vlm.get_config()
    config.optim.warmup_steps = 122
    config.optim.power = 0.0

    config.eval = ConfigDict()
    config.eval.split = "test"
    config.eval.batch_size = 256
    return config
