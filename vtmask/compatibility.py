"""The settings that may change when a run resumes, fine-tunes a model or evaluates it."""

from typing import Any

# Fields of a config that may change when a run resumes. They have no effect on the parameters
# beyond rounding.
WHEN_RESUMED = ("log_every", "checkpoint.", "eval.", "eval_", "data.dir", "sharding.")

# Fields that recipes gained later → the value that earlier runs were trained with.
BEFORE_ADDED: dict[str, Any] = {"optim.factors": [], "optim.mu_dtype": "float32"}

# Fields of a model's configuration that fine-tuning may change. No pre-trained parameter depends on
# them.
WHEN_FINE_TUNED = frozenset(
    {
        "max_len",
        "dropout_rate",
        "initializer_range",
        "num_classes",
        "dtype",
        "fused_attention",
        "scan_layers",
        "remat",
    }
)

# Settings of a task that an evaluation may change. Training does not depend on them.
WHEN_EVALUATED = frozenset(
    {"direction", "num_beams", "length_penalty", "max_decode_length", "temperature", "top_p"}
)
