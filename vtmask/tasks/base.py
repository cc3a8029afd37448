"""The base class of tasks, and their gradients."""

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from vtmask.errors import UserError
from vtmask.models import AnyModel, VideoCLIPConfig, VLMConfig

Batch = dict[str, Array]
Metrics = dict[str, Array]


class Task:
    """A task. Subclasses are frozen dataclasses whose fields are the recipe's settings.

    Attributes:
      needs_vlm: True if a VideoCLIP cannot do the task.
    """

    needs_vlm: ClassVar[bool] = False

    def fits(self, model: AnyModel, batch: Batch, key: Array) -> Array:
        """Returns, for each program of `gradients`, True if it can compute the batch.

        The first one that can is used, so faster programs come first. Most tasks have one program.

        Returns:
          bool [programs], True at one of them at least.
        """
        return jnp.ones(1, bool)

    def loss(self, model: Any, batch: Batch, key: Array) -> tuple[Array, Metrics]:
        """Computes the loss of a batch, [], and its parts for the training curves.

        Args:
          model: bound to its parameters and an rng "dropout".
          key: for random numbers other than dropout's.
        """
        raise NotImplementedError

    def gradients(
        self,
        model: AnyModel,
        params: Any,
        batch: Batch,
        key: Array,
        dropout_key: Array,
        program: int,
    ) -> tuple[Any, Metrics]:
        """Returns the gradients of the batch's loss by parameter, and the loss and its parts.

        A task with several programs overrides this, as `vtmask.tasks.pretrain.Pretrain` does.

        Args:
          program: index of a program that can compute the batch; see `fits`.
        """
        loss = functools.partial(self.loss, batch=batch, key=key)
        return gradients(loss, model, params, dropout_key)


def gradients(
    loss: Callable[[Any], tuple[Array, Metrics]], model: AnyModel, params: Any, dropout_key: Array
) -> tuple[Any, Metrics]:
    """Returns the gradients of a function of the bound model, and the loss and its parts."""

    def loss_of(params: Any) -> tuple[Array, Metrics]:
        return nn.apply(loss, model)({"params": params}, rngs={"dropout": dropout_key})

    (value, parts), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
    return grads, {"loss": value, **parts}


def require_vlm(kind: type[VLMConfig], what: str, advice: str = "use a VLM") -> None:
    """Raises a UserError unless a model is a VLM.

    A VideoCLIP has an encoder for each modality. So it has no isolated layers, no prediction head
    and no classifier.

    Args:
      kind: class of the model's configuration.
      what: the request that needs a VLM, for the error.
    """
    if issubclass(kind, VideoCLIPConfig):
        raise UserError(f"{what}, which VideoCLIP cannot do; {advice}")
