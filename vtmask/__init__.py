"""vtmask: masked-modality video-text pre-training in JAX."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vtmask.api import VideoTextModel


def load(folder: str | Path, s3d_weights: str | Path | None = None) -> "VideoTextModel":
    """The model of an export, VLM or VideoCLIP, pre-trained or fine-tuned, ready to use.

    Args:
      folder: WORKDIR/export of a training run; a folder or a gs:// address.
      s3d_weights: s3d_howto100m.pth, or a folder that `vtmask convert` made of it, which a model of
        S3D's features needs for video files; it is read when the first one comes.

    Raises:
      UserError: the folder holds no export, or a damaged one.
    """
    from vtmask import api, export  # only here, as they need JAX

    return api.VideoTextModel(export.load(folder), s3d_weights)
