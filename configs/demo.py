"""Pre-training on the demo data set: a small VLM, minutes on two CPU cores."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 64
    config.num_steps = 2000
    config.init_from = ""  # an exported model to start from; "" starts fresh

    config.data = ConfigDict()
    config.data.name = "demo/default"
    config.data.dir = ""  # "" is TFDS's own default
    config.data.split = "train"

    config.task = ConfigDict()
    config.task.name = "pretrain"
    config.task.objective = "mtm"
    config.task.masking = ConfigDict({"mm_prob": 0.5, "mask_prob": 0.15})

    config.sampler = ConfigDict()
    config.sampler.clips_per_record = 4
    config.sampler.min_tokens = 8
    config.sampler.max_tokens = 64

    config.model = ConfigDict()
    config.model.hidden_size = 128
    config.model.num_layers = 4
    config.model.num_heads = 4
    config.model.mlp_size = 512
    config.model.dropout_rate = 0.0
    config.model.dtype = "float32"
    config.model.max_video_len = 32
    config.model.max_len = 96

    config.optim = ConfigDict()
    config.optim.lr = 1e-3
    config.optim.warmup_steps = 100
    config.optim.power = 1.0
    config.optim.clip_norm = 2.0
    config.optim.b1 = 0.9
    config.optim.b2 = 0.98
    config.optim.eps = 1e-8
    config.optim.weight_decay = 0.0

    config.log_every = 50
    config.checkpoint = ConfigDict({"every": 500, "keep": 2})
    return config
