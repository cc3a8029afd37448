"""Draws a video's features: its frames above the similarity of its features to each other."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vtmask import files
from vtmask.errors import UserError
from vtmask.features import decode, extractors, feature_folder
from vtmask.features.extractors import ExtractorConfig

_PICTURES = 10
_PICTURE_SIZE = 160  # pixels
_LEAST_CONTRAST = 0.5  # the cosine drawn black, unless a lower one occurs
_CELLS = 600  # maximum along a side of the matrix; for longer videos a cell is several features


def write_picture(path: Path, out: Path, video: Path | None, config: ExtractorConfig) -> None:
    """Draws the features in a `.npy` file, or those that `config` makes of a video.

    Args:
      video: source of the features in a `.npy` file; by default the one `vtmask extract` recorded.

    Raises:
      UserError: a file can't be read, or it is not known which video the features are of.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder, expected features or a video")
    if path.suffix == ".npy":
        features = files.read_array(path)
        features = files.check_features(str(path), features, (features.shape or (0,))[-1])
        name, seconds, source = _origin(path)
        video = video or source
        if video is None:
            raise UserError(f"{path}: its video is unknown; name it with --video")
    else:
        extractor = config.create()
        features, _ = extractors.salvage(path, extractor)
        name, seconds, video = extractor.name, extractor.window.seconds, path
    times = [(i + 0.5) / _PICTURES * len(features) * seconds for i in range(_PICTURES)]
    title = f"{video.name}: {len(features)} × {seconds:g} s, {name}"
    try:
        draw(title, features, decode.pictures(video, times, _PICTURE_SIZE), seconds).savefig(out)
    except ValueError as error:
        raise UserError(f"{out}: {error}") from error


def draw(
    title: str, features: np.ndarray, pictures: Sequence[np.ndarray], seconds: float
) -> Figure:
    """Draws the cosine of every two features below pictures of the video.

    Args:
      features: [n, size].
      pictures: uint8 [height, width, 3], evenly spaced over the video.
      seconds: length of video that a feature covers.
    """
    figure = Figure(figsize=(8.0, 8.4), dpi=120, layout="constrained")
    figure.suptitle(title)
    strip, matrix = figure.subplots(2, 1, height_ratios=(1, len(pictures)))
    strip.imshow(np.concatenate(pictures, axis=1))
    strip.axis("off")
    length = len(features) * seconds
    similarity = _similarity(features)
    # A fixed maximum and a minimum range, so that features that are all alike look alike.
    least = min(_LEAST_CONTRAST, similarity.min())
    extent = (0, length, length, 0)
    shown = matrix.imshow(similarity, extent=extent, cmap="magma", vmin=least, vmax=1)
    clock = FuncFormatter(lambda t, _: f"{t // 60:.0f}:{t % 60:02.0f}")
    for axis in (matrix.xaxis, matrix.yaxis):
        axis.set_major_locator(MaxNLocator(10, steps=[1, 1.5, 3, 6, 10], integer=True))
        axis.set_major_formatter(clock)
    matrix.set(xlabel="time", ylabel="time")
    figure.colorbar(shown, ax=matrix, location="bottom", label="cosine", shrink=0.5, aspect=40)
    return figure


def _similarity(features: np.ndarray) -> np.ndarray:
    """Returns cosines of features, or of neighbours' means if there are many: [cells, cells]."""
    cells = np.array_split(features.astype(np.float32), min(len(features), _CELLS))
    means = np.stack([cell.mean(0) for cell in cells])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    return means @ means.T


def _origin(path: Path) -> tuple[str, float, Path | None]:
    """Returns extractor, seconds and video of a `.npy` file, as `vtmask extract` recorded them."""
    card = files.card_of(path)
    if card is None:
        return "unknown extractor", 1.0, None
    folder = card.path.parent
    name = path.absolute().relative_to(folder).with_suffix("").as_posix()
    outcomes = feature_folder.read_logs(folder)
    video = next((Path(o.path) for o in outcomes if o.video == name and o.features), None)
    return card.feature_extractor, card.seconds_per_feature, video
