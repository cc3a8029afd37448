"""Features from a vision encoder of transformers: CLIP, SigLIP, DINOv2, ViT (the extra `hf`)."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from vtmask.errors import UserError, check_choice
from vtmask.features.window import Window

_PREFIX = "hf:"
POOLINGS = ("pooled", "patches")
_INSTALL = "pip install -e '.[hf]'"


class HuggingFaceFeatures:
    """Maps each window to a unit vector: the normalised mean of its frames' unit vectors.

    A frame is the central square of the picture, at the size that the model's processor resizes to.
    The processor crops and normalises it.

    Attributes:
      name: `hf:`, the name of the model or its folder, the first digits of a hash of its weights
        and normalisation, and the other settings that change the numbers.
      batch_size: windows per call of the model. Smaller batches are padded to it, so that a
        window's feature does not depend on how many came with it.
    """

    def __init__(
        self,
        model: str,
        pooling: str = "pooled",
        frame_rate: int = 1,
        frames_per_feature: int = 1,
        dtype: str = "float32",
        batch_size: int = 8,
    ):
        """Loads a model; code that lies beside its weights is not run.

        Args:
          model: a folder, or a name on the Hugging Face Hub.
          pooling: how a frame becomes a vector. "pooled" is the model's own image vector, for CLIP
            and SigLIP the one compared with texts; "patches" is the mean of the last layer's
            patches.
          frame_rate: frames a second.
          frames_per_feature: number of frames averaged into a feature.
          dtype: type of activations.

        Raises:
          UserError: transformers or PyTorch is not installed, the model can't be loaded, or it is
            not a vision encoder.
        """
        check_choice("pooling", pooling, POOLINGS)
        check_choice("dtype", dtype, ("float32", "bfloat16"))
        self._pooling, self.batch_size = pooling, batch_size
        self._place = f"model {_PREFIX}{model}"
        self._processor, self._model = _load(model, pooling)
        fingerprint = _fingerprint(self._processor, self._model)
        self._model = self._model.to(_device(), _torch_dtype(dtype))
        size = _image_size(self._place, self._processor)
        self.window = Window(frames_per_feature, frame_rate, size)
        name = Path(model).resolve().name if Path(model).is_dir() else model
        parts = [f"{_PREFIX}{name}@{fingerprint}"]
        parts += ["patches"] if pooling == "patches" else []
        parts += [f"{frames_per_feature}-frames"] if frames_per_feature > 1 else []
        self.name = "/".join(parts)
        try:
            self.size = self(np.zeros((1, *self.window.shape), np.uint8)).shape[1]
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{self._place}: is not a usable vision encoder: {_first_line(error)}"
            ) from error

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Maps uint8 [windows, *window.shape] to float32 [windows, size]."""
        missing = -len(frames) % self.batch_size
        filled = np.pad(frames, [(0, missing), *[(0, 0)] * 4])
        batches = filled.reshape(-1, self.batch_size, *self.window.shape)
        return np.concatenate([self._embed(batch) for batch in batches])[: len(frames)]

    def _embed(self, windows: np.ndarray) -> np.ndarray:
        import torch

        images = list(windows.reshape(-1, *windows.shape[2:]))
        pixels = self._processor(images=images, return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            vectors = self._vectors(pixels.to(self._model.device, self._model.dtype))
            vectors = torch.nn.functional.normalize(vectors.float(), dim=1)
            means = vectors.reshape(len(windows), self.window.frames, -1).mean(1)
            return torch.nn.functional.normalize(means, dim=1).cpu().numpy()

    def _vectors(self, pixels: Any) -> Any:
        """Maps frames [n, 3, height, width] to vectors [n, size]."""
        if self._pooling == "pooled":
            has_joint_space = hasattr(self._model, "get_image_features")
            run = self._model.get_image_features if has_joint_space else self._model
            pooled = getattr(run(pixel_values=pixels), "pooler_output", None)
            if pooled is None:
                raise UserError(f"{self._place}: has no pooled vector; set --pooling patches")
            return pooled.flatten(1)  # convolutional networks give [n, size, 1, 1]
        tower = getattr(self._model, "vision_model", self._model)
        hidden = tower(pixel_values=pixels).last_hidden_state
        if hidden.ndim == 4:  # from convolutional networks, [n, size, rows, columns]
            return hidden.mean((2, 3))
        patch = tower.config.patch_size
        number = (pixels.shape[2] // patch) * (pixels.shape[3] // patch)
        return hidden[:, -number:].mean(1)  # [CLS] and register tokens come before patches


def _load(model: str, pooling: str) -> tuple[Any, Any]:
    """Loads the image processor and the model; a UserError if parameters are missing."""
    place = f"model {_PREFIX}{model}"
    try:
        import torch
        import transformers
        from safetensors import SafetensorError
    except ImportError as error:
        raise UserError(
            f"{place}: needs PyTorch and transformers, which are not installed; {_INSTALL}"
        ) from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(model, trust_remote_code=False)
        loaded, info = transformers.AutoModel.from_pretrained(
            model, dtype=torch.float32, trust_remote_code=False, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        raise UserError(f"{place}: can't be loaded: {_first_line(error)}") from error
    # transformers initialises missing parameters at random.
    missing = sorted(info["missing_keys"])
    if pooling == "patches":
        missing = [name for name in missing if "pool" not in name]
    if missing:
        more = f" and {len(missing) - 2} more" if len(missing) > 2 else ""
        hint = "; set --pooling patches" if all("pool" in name for name in missing) else ""
        raise UserError(f"{place}: its weights lack {', '.join(missing[:2])}{more}{hint}")
    return processor, loaded.eval()


def _fingerprint(processor: Any, model: Any) -> str:
    """Returns eight hex digits of a hash of the model's weights and normalisation."""
    digest = hashlib.sha256()
    for field in ("size", "crop_size", "image_mean", "image_std", "rescale_factor"):
        value = getattr(processor, field, None)
        stated = (
            {k: v for k, v in vars(value).items() if v} if hasattr(value, "__dict__") else value
        )
        digest.update(f"{field} {stated}\n".encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy())
    return digest.hexdigest()[:8]


def _image_size(place: str, processor: Any) -> int:
    """Returns the height and width of the squares that the processor expects."""
    size = processor.size
    if size.get("shortest_edge"):
        return size["shortest_edge"]
    if not size.get("height") or size["height"] != size.get("width"):
        raise UserError(
            f"{place}: its processor resizes to {size}, expected a shortest_edge or a square"
        )
    return size["height"]


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _torch_dtype(dtype: str) -> Any:
    import torch

    return getattr(torch, dtype)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
