"""Imports TensorFlow on first use, with a quiet log, and leaves the GPU to JAX."""

import functools
import logging
import os
from typing import TYPE_CHECKING, Any


def quiet() -> None:
    """Keeps the log's noise off the screen. Call it before anything imports TensorFlow."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    # TFDS warns of a deprecated property that it reads itself.
    logging.getLogger("absl").addFilter(_is_not_about_dtype)


def _is_not_about_dtype(record: logging.LogRecord) -> bool:
    return "FeatureConnector.dtype" not in str(record.msg)


@functools.cache
def _load() -> Any:
    quiet()
    import tensorflow

    tensorflow.config.set_visible_devices([], "GPU")
    return tensorflow


class _OnFirstUse:
    def __getattr__(self, name: str) -> Any:
        return getattr(_load(), name)


if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = _OnFirstUse()
