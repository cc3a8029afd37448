"""Shards to clips to batches: here alone, TensorFlow computes."""
