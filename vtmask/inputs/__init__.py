"""Shards to clips to batches, the only computation that TensorFlow does."""
