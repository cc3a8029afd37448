"""Training: state, step, loop, sharding, checkpoints."""

from vtmask.training.loop import train
from vtmask.training.step import TrainState, initial_params, make_train_step

__all__ = ["TrainState", "initial_params", "make_train_step", "train"]
