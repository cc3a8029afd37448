"""Shows what a model will see at a step of training: `vtmask inspect`."""
