"""Shows the model's input at a step of training: `vtmask inspect`."""
