"""vtmask: masked-modality video-text pre-training in JAX."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vtmask.api import VideoTextModel
    from vtmask.search.index import Index as Index


def load(folder: str | Path, s3d_weights: str | Path | None = None) -> "VideoTextModel":
    """Loads an exported VLM or VideoCLIP, pre-trained or fine-tuned.

    Args:
      folder: WORKDIR/export of a training run, a folder or a gs:// address.
      s3d_weights: s3d_howto100m.pth, or a folder that `vtmask convert` made from it. A model
        trained on S3D's features needs it to read video files; it is loaded with the first.

    Raises:
      UserError: the folder holds no export, or a damaged one.
    """
    from vtmask import api  # imported here, as it needs JAX

    return api.load(folder, s3d_weights)


def __getattr__(name: str) -> Any:
    if name == "Index":
        from vtmask.search.index import Index  # imported here, as it needs an extra

        return Index
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
