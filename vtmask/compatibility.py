"""Which settings may differ from those that a run, a start or a model was made with."""

# Fields of a config that may change when a run resumes. They have no effect on the parameters, but
# for rounding.
WHEN_RESUMED = ("log_every", "checkpoint.", "eval.", "eval_", "data.dir", "sharding.")

# Fields of a model's configuration that a fine-tuning may choose. No parameter that it starts from
# depends on them.
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

# Settings of a task that an evaluation may choose. Training does not depend on them.
WHEN_EVALUATED = frozenset(
    {"direction", "num_beams", "length_penalty", "max_decode_length", "temperature", "top_p"}
)
