"""vtmask: masked-modality video-text pre-training in JAX."""
