"""Settings that fine-tuning on public data sets shares: BERT-base sizes, the published optimizer.

The published learning rates decay over a million updates, so they are nearly constant after the
warm-up. Training starts from --config.init_from=PRETRAINED/export.
"""

from ml_collections import ConfigDict, config_dict

from configs import vlm


def get_config() -> ConfigDict:
    config = vlm.get_config()
    config.num_steps = config_dict.placeholder(int)  # None: set by num_epochs
    config.optim.warmup_steps = 122
    config.optim.power = 0.0

    config.eval = ConfigDict()
    config.eval.split = "test"
    config.eval.batch_size = 256
    return config
