"""Pre-training as published: BERT-base sizes and the optimizer of VLM, section 4.2.

Name the data set: --config.data.name=… --config.data.dir=…
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 256
    config.num_steps = 100_000
    config.init_from = ""  # an exported model to start from; "" starts fresh

    config.data = ConfigDict()
    config.data.name = "demo/default"  # or several, "howto100m,folder", mixed by weight
    config.data.weights = ()  # relative frequency of each one's videos; () is equal
    config.data.dir = ""  # "" is TFDS's default
    config.data.split = "train"

    config.task = ConfigDict()
    config.task.name = "pretrain"
    config.task.objective = "mtm"
    config.task.negatives = "global"  # or "device"
    config.task.budgets = ((0.75, 0.3, 0.72),)  # for 32 clips per device or more
    config.task.masking = ConfigDict({"mm_prob": 0.5, "mask_prob": 0.15})

    config.sampler = ConfigDict()
    config.sampler.name = "caption_windows"
    config.sampler.clips_per_record = 16
    config.sampler.min_tokens = 8
    config.sampler.max_tokens = 64

    config.model = ConfigDict()
    config.model.name = "vlm"
    config.model.hidden_size = 768
    config.model.num_layers = 12
    config.model.num_heads = 12
    config.model.mlp_size = 3072
    config.model.dropout_rate = 0.1
    config.model.initializer_range = 0.02
    config.model.dtype = "float32"
    config.model.fused_attention = False
    config.model.scan_layers = False
    config.model.remat = "none"
    config.model.num_positions = 512
    config.model.max_video_len = 32
    config.model.max_len = 96

    config.optim = ConfigDict()
    config.optim.lr = 5e-5
    config.optim.warmup_steps = 1000
    config.optim.power = 1.0
    config.optim.clip_norm = 2.0
    config.optim.b1 = 0.9
    config.optim.b2 = 0.98
    config.optim.eps = 1e-8
    config.optim.weight_decay = 0.0
    config.optim.mu_dtype = "float32"  # or "bfloat16": of Adam's first moment
    # Multiples of lr for parts of the model, such as (("video_mlp", 20.0),), which BERT lacks.
    config.optim.factors = ()

    config.sharding = ConfigDict()
    config.sharding.model = 1  # devices that share a layer; the others share the batch
    config.sharding.fsdp = False  # True splits parameters and Adam's moments over the others, too
    config.microbatches = 1  # parts of a batch whose gradients are computed in turn

    config.log_every = 100
    config.eval_every = 0  # steps between validations; 0 is never
    config.eval_split = "validation"
    config.checkpoint = ConfigDict({"every": 1000, "keep": 3})
    config.checkpoint.best = ""  # validation figure; its best checkpoint is kept and exported
    return config
