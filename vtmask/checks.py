"""Checks the values of a recipe before any data are opened or anything is written."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from ml_collections import ConfigDict

from vtmask import models, tasks
from vtmask.errors import UserError, check_choice
from vtmask.inputs import samplers

Rule = tuple[str, Callable[[Any], bool]]  # description of the allowed values, and the test


def check(config: ConfigDict) -> None:
    """Raises a UserError that names the first field with a wrong value, and the allowed ones."""
    for rule, fields in _RULES:
        for field in fields:
            _require(config, field, rule)
    names = config.data.name.split(",")
    _require(config, "data.weights", _weights(len(names)))
    sampler = config.sampler.to_dict()
    if {"min_tokens", "max_tokens"} <= sampler.keys():
        _require(config, "sampler.max_tokens", _at_least(sampler["min_tokens"], "min_tokens"))
    if "mu_dtype" in config.optim:
        check_choice("config.optim.mu_dtype", config.optim.mu_dtype, ("float32", "bfloat16"))
    tasks.create(config.task)
    model = config.model.to_dict()
    kind = model.pop("name")
    check_choice("config.model.name", kind, models.CONFIGS)
    tasks.require_model_for(config.task.name, models.CONFIGS[kind])
    samplers.create(sampler.pop("name"), models.CONFIGS[kind](**model), **sampler)


def _require(config: ConfigDict, field: str, rule: Rule) -> None:
    value: Any = config
    for name in field.split("."):
        if name not in value:
            return
        value = value[name]
    expected, accepts = rule
    if not accepts(value):
        raise UserError(f"config.{field} is {value!r}, expected {expected}")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return (_is_integer(value) or isinstance(value, float)) and math.isfinite(value)


def _at_least(least: int, name: str = "") -> Rule:
    expected = f"at least {name}, {least}" if name else f"{least} or more"
    return expected, lambda value: _is_integer(value) and value >= least


def _weights(count: int) -> Rule:
    def accepts(value: Any) -> bool:
        numbers = isinstance(value, Sequence) and all(_is_number(v) and v > 0 for v in value)
        return numbers and len(value) in (0, count)

    return f"() or {count} positive numbers, one for each data set", accepts


def _are_factors(value: Any) -> bool:
    return isinstance(value, Sequence) and all(
        isinstance(pair, Sequence)
        and len(pair) == 2
        and isinstance(pair[0], str)
        and _is_number(pair[1])
        and pair[1] > 0
        for pair in value
    )


_FACTORS: Rule = ("pairs of a part of the model and a number above 0", _are_factors)
_FINITE: Rule = ("a finite number", _is_number)
_MORE_THAN_ZERO: Rule = ("more than 0", lambda value: _is_number(value) and value > 0)
_ZERO_OR_MORE: Rule = ("0 or more", lambda value: _is_number(value) and value >= 0)
_PROBABILITY: Rule = ("0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)
_BELOW_ONE: Rule = ("0 or more and less than 1", lambda v: _is_number(v) and 0 <= v < 1)


def _or_none(rule: Rule) -> Rule:
    return f"{rule[0]}, or None", lambda value: value is None or rule[1](value)


_RULES: tuple[tuple[Rule, tuple[str, ...]], ...] = (
    (
        _at_least(1),
        (
            *("batch_size", "microbatches", "log_every", "checkpoint.every", "checkpoint.keep"),
            *("sharding.model", "eval.batch_size", "eval.stride"),
            *("model.hidden_size", "model.num_layers", "model.num_heads", "model.mlp_size"),
            *("model.num_positions", "model.max_video_len", "model.max_len"),
            "model.num_video_layers",
            *("sampler.clips_per_record", "sampler.min_tokens", "sampler.max_tokens"),
            *("sampler.min_frames", "sampler.max_frames", "sampler.stride", "sampler.windows"),
            *("sampler.max_steps", "retrieval_augmented.clips_per_video"),
        ),
    ),
    (_at_least(2), ("task.num_answers",)),
    (_at_least(0), ("seed", "eval_every", "optim.warmup_steps")),
    (_or_none(_at_least(1)), ("num_steps",)),
    (_or_none(_at_least(0)), ("task.isolated_layers",)),
    (_or_none(_MORE_THAN_ZERO), ("num_epochs",)),
    (_MORE_THAN_ZERO, ("optim.lr", "optim.clip_norm", "optim.eps", "model.initializer_range")),
    (_ZERO_OR_MORE, ("optim.power", "optim.weight_decay")),
    (_FACTORS, ("optim.factors",)),
    (_FINITE, ("task.length_penalty",)),
    (_PROBABILITY, ("task.masking.mm_prob", "task.masking.mask_prob")),
    (_BELOW_ONE, ("model.dropout_rate", "optim.b1", "optim.b2")),
)
