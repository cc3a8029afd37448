"""Features from S3D, as the published systems were trained on."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from vtmask import convert, export
from vtmask.errors import UserError, check_choice
from vtmask.features.window import Window
from vtmask.files import pytorch
from vtmask.models.s3d import EMBEDDING_SIZE, S3D

_SMALLEST_NORM = 1e-12


class S3DFeatures:
    """Maps every second of video to its S3D embedding, of unit norm.

    The window equals that of MMPT's extractor: 30 frames per second, resized bicubically to 224
    pixels on the short side and cropped to the central square. Black frames fill the last second.

    Attributes:
      batch_size: windows per call of the network. Smaller batches are padded to it, so that the
        network is compiled once and a window's feature does not depend on how many came with it.
    """

    name = "s3d-howto100m"
    size = EMBEDDING_SIZE
    window = Window(frames=30, frame_rate=30, image_size=224)

    def __init__(self, weights: str | Path, dtype: str = "float32", batch_size: int = 8):
        """Loads `weights`: the published s3d_howto100m.pth, or a folder from `vtmask convert`.

        Raises:
          UserError: `weights` is neither, or `dtype` is unknown.
        """
        check_choice("dtype", dtype, ("float32", "bfloat16"))
        self.batch_size = batch_size
        self._params = jax.device_put(_read(Path(weights)))
        model = S3D(len(self._params["text"]["word_embd"]["embedding"]), dtype)

        @jax.jit
        def embed(params: dict, frames: Array) -> Array:
            x = model.apply({"params": params}, frames, method="embed_video")[0]
            return x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), _SMALLEST_NORM)

        self._embed = embed

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Maps uint8 [windows, 30, 224, 224, 3] to float32 [windows, 512]."""
        missing = -len(frames) % self.batch_size
        filled = np.pad(frames, [(0, missing), *[(0, 0)] * 4])
        batches = filled.reshape(-1, self.batch_size, *self.window.shape)
        features = [np.asarray(self._embed(self._params, batch)) for batch in batches]
        return np.concatenate(features)[: len(frames)]


def _read(weights: Path) -> dict[str, Any]:
    """Reads the parameters of `S3D` from a file or a folder."""
    if weights.is_dir():
        exported = export.load_any(weights)
        if not isinstance(exported, export.S3DModel):
            raise UserError(f"{weights}/model.json: is of another model, expected an S3D")
        return exported.params
    published = pytorch.load(weights)
    try:
        return convert.s3d_from_published(convert.state_dict(published))
    except UserError as error:
        raise UserError(f"{weights}: {error}; expected s3d_howto100m.pth") from error
