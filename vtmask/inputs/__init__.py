"""Shards to clips to batches: with `data/`, the only place that imports TensorFlow."""

import logging
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import tensorflow as tf

tf.config.set_visible_devices([], "GPU")  # the devices are JAX's

# TFDS warns of a deprecated property that it reads itself.
logging.getLogger("absl").addFilter(lambda record: "FeatureConnector.dtype" not in str(record.msg))
