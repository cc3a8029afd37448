"""Pre-training on the demo data set: a small VLM that trains in minutes on two CPU cores."""

from ml_collections import ConfigDict

from configs import vlm


def get_config() -> ConfigDict:
    config = vlm.get_config()
    config.batch_size = 64
    config.num_steps = 1000

    config.sampler.clips_per_record = 2
    config.sampler.max_tokens = 24

    config.model.hidden_size = 128
    config.model.num_layers = 3
    config.model.num_heads = 4
    config.model.mlp_size = 512
    config.model.dropout_rate = 0.0
    config.model.initializer_range = 0.08
    config.model.max_video_len = 20
    config.model.max_len = 53

    config.optim.lr = 5e-4
    config.optim.warmup_steps = 100

    config.log_every = 50
    config.eval_every = 250
    config.checkpoint.every = 250
    return config
