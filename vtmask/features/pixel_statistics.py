"""A feature extractor without weights: pixel statistics and one fixed random projection."""

from functools import cache

import numpy as np

from vtmask.features.window import Window

_EPSILON = 1e-6
_ANGLES = 24
_RADII = np.array([0.35, 0.7, 1.05, 1.4, 1.75, 2.1])  # in units of the salient region's spread
_ORIENTATIONS = 16
_GRID = 3
_HARMONICS = _ANGLES // 2 + 1
_BIN_CENTRES = np.linspace(-1, 1, 7)


class PixelStatistics:
    """Describes the colour, shape and motion of the salient region in a second of video.

    Pixels are salient if they differ from the window's median colour. Shape and orientation are
    measured around the region's centroid and relative to its spread, so they do not depend on its
    place in the picture, and little on its size. Motion is the change of centroid, spread,
    brightness and angle from frame to frame. All groups of statistics are scaled to the same norm
    before the projection, so that none dominates.
    """

    name = "pixel-statistics-v1"
    size = 512
    window = Window(frames=8, frame_rate=8, image_size=48, interpolation="area", fill="last")
    batch_size = 2  # few enough to stay in the processor's cache

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Maps uint8 [seconds, 8, 48, 48, 3] to float32 [seconds, size]."""
        groups = [_normalise(group) for group in _statistics(frames)]
        values = np.concatenate(groups, axis=1)
        # einsum instead of BLAS gives the same bits for any number of threads.
        features = np.einsum("si,io->so", values, _projection(values.shape[1], self.size))
        return features / np.linalg.norm(features, axis=1, keepdims=True)


@cache
def _projection(inputs: int, outputs: int) -> np.ndarray:
    normal = np.random.default_rng(0).standard_normal((inputs, outputs), np.float32)
    return normal / np.float32(np.sqrt(outputs))


def _normalise(group: np.ndarray) -> np.ndarray:
    """Takes the signed square root, then centres each row and scales it to unit norm."""
    rooted = np.sign(group) * np.sqrt(np.abs(group))
    centred = rooted - rooted.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return (centred / (norm + _EPSILON)).astype(np.float32)


def _statistics(frames: np.ndarray) -> list[np.ndarray]:
    """Returns groups of statistics, each [seconds, n]."""
    rgb = frames.astype(np.float32) / 255
    luma = np.einsum("...c,c->...", rgb, np.array([0.299, 0.587, 0.114], np.float32))
    distance = _distance_from_median(rgb)
    salience = _contrast(distance)
    region = _Region(salience)
    mask_polar = region.polar(salience)
    luma_polar = region.polar(luma)
    luma_polar = (luma_polar - luma_polar.mean((2, 3), keepdims=True)) * mask_polar
    mask_spectrum, luma_spectrum = np.fft.rfft(mask_polar), np.fft.rfft(luma_polar)
    dx, dy = np.gradient(luma, axis=(3, 2))
    strength = np.hypot(dx, dy)
    # Half a bin of offset puts horizontal and vertical edges in the middle of their bins.
    turn = np.arctan2(dy, dx) / (2 * np.pi) + 0.5 / _ORIENTATIONS
    orientation = np.floor(turn * _ORIENTATIONS).astype(np.int32) % _ORIENTATIONS
    cells = region.cells() * _ORIENTATIONS + orientation
    dynamics = [
        region.x,
        region.y,
        8 * np.log(region.spread),
        4 * np.log(distance.sum((2, 3)) + _EPSILON),
        8 * np.log(region.width / region.height),
    ]
    return [
        _histogram(_colour_bins(frames), salience, 64),
        _histogram(_colour_bins(frames), np.ones_like(salience), 64),
        mask_polar.mean(1).reshape(len(frames), -1),
        np.abs(mask_spectrum).mean(1).reshape(len(frames), -1),
        np.abs(luma_spectrum).mean(1).reshape(len(frames), -1),
        _histogram(cells, strength * salience, _GRID**2 * _ORIENTATIONS),
        _histogram(orientation, strength, _ORIENTATIONS),
        _normal_flow(luma, orientation, strength),
        np.concatenate([_trend(signal) for signal in dynamics], axis=1),
        np.concatenate([_rotation(mask_spectrum), _rotation(luma_spectrum)], axis=1),
    ]


def _distance_from_median(rgb: np.ndarray) -> np.ndarray:
    """Returns squared distances to the window's median colour, [seconds, frames, H, W]."""
    sample = rgb[:, ::2, ::4, ::4].reshape(len(rgb), -1, 3)
    median = np.median(sample, axis=1)
    return np.square(rgb - median[:, None, None, None]).sum(-1)


def _contrast(distance: np.ndarray) -> np.ndarray:
    """Returns a soft mask, 0 to 1, of pixels that stand out from the window's average."""
    level = 4 * distance.mean((1, 2, 3), keepdims=True) + 1e-3
    return np.square(distance / (distance + level))


class _Region:
    """Centroid and extent of the salience in each frame, [seconds, frames], in pixels."""

    def __init__(self, salience: np.ndarray):
        height, width = salience.shape[2:]
        self.shape = salience.shape
        mass = salience.sum((2, 3)) + _EPSILON
        columns, rows = salience.sum(2) / mass[..., None], salience.sum(3) / mass[..., None]
        across, down = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
        self.x, self.y = columns @ across, rows @ down
        self.width = np.sqrt(np.maximum(columns @ across**2 - self.x**2, 1))
        self.height = np.sqrt(np.maximum(rows @ down**2 - self.y**2, 1))
        self.spread = np.hypot(self.width, self.height)

    def polar(self, image: np.ndarray) -> np.ndarray:
        """Samples the image around the centroid, [seconds, frames, radii, angles]."""
        angle = np.arange(_ANGLES) * (2 * np.pi / _ANGLES)
        radius = self.spread[..., None, None] * _RADII[:, None]
        x = self.x[..., None, None] + radius * np.cos(angle)
        y = self.y[..., None, None] + radius * np.sin(angle)
        return _bilinear(image, x, y)

    def cells(self) -> np.ndarray:
        """Returns each pixel's cell in a grid around the centroid, [seconds, frames, H, W]."""
        height, width = self.shape[2:]
        column = self._cell(np.arange(width) - self.x[..., None])
        row = self._cell(np.arange(height) - self.y[..., None])
        return row[..., :, None] * _GRID + column[..., None, :]

    def _cell(self, offset: np.ndarray) -> np.ndarray:
        cell = np.floor(offset / (0.8 * self.spread[..., None]) + _GRID / 2)
        return cell.clip(0, _GRID - 1).astype(np.int32)


def _bilinear(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    height, width = image.shape[2:]
    x, y = x.clip(0, width - 1.001), y.clip(0, height - 1.001)
    left, top = x.astype(np.int32), y.astype(np.int32)
    flat = image.reshape(*image.shape[:2], -1)
    index = (top * width + left).reshape(*image.shape[:2], -1)

    def corner(offset: int) -> np.ndarray:
        return np.take_along_axis(flat, index + offset, axis=2).reshape(x.shape)

    u, v = x - left, y - top
    upper = (1 - u) * corner(0) + u * corner(1)
    lower = (1 - u) * corner(width) + u * corner(width + 1)
    return (1 - v) * upper + v * lower


def _histogram(bins: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """Returns weighted counts for each window, [seconds, count]."""
    seconds = len(bins)
    offset = np.arange(seconds).reshape(-1, *[1] * (bins.ndim - 1)) * count
    flat = np.bincount((bins + offset).ravel(), weights.ravel(), minlength=seconds * count)
    return flat.reshape(seconds, count)


def _colour_bins(frames: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(frames >> 6, -1, 0).astype(np.int32)
    return red * 16 + green * 4 + blue


def _normal_flow(luma: np.ndarray, orientation: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Returns a histogram of the directions in which edges move."""
    change = luma[:, 1:] - luma[:, :-1]
    half = _ORIENTATIONS // 2
    direction = (orientation[:, :-1] + half * (change > 0)) % _ORIENTATIONS
    return _histogram(direction, np.abs(change) * strength[:, :-1], _ORIENTATIONS)


def _trend(signal: np.ndarray) -> np.ndarray:
    """Summarises how a signal [seconds, frames] changes, in soft bins: steps, sizes, reversals."""
    step = np.diff(signal)
    size = np.abs(step)
    rms = np.square(step).mean(1) + 0.05
    lags = [(step[:, lag:] * step[:, :-lag]).mean(1) / rms for lag in (1, 2, 3)]
    scalars = [
        np.tanh(np.median(step, 1)),
        np.tanh(step.mean(1)),
        np.tanh(np.median(size, 1)),
        np.tanh(size.mean(1)),
        np.tanh(size.max(1) / 4),
        *lags,
    ]
    return _soft_bins(np.stack(scalars, axis=1))


def _rotation(spectrum: np.ndarray) -> np.ndarray:
    """Returns the phase advance of angular harmonics from frame to frame, in soft bins."""
    cross = (spectrum[:, 1:] * spectrum[:, :-1].conj())[..., 1:7].sum(2)
    advance = cross / (np.abs(cross).mean(-1, keepdims=True) + 1e-3)
    mean = advance.mean(1)
    return _soft_bins(np.concatenate([np.tanh(mean.real), np.tanh(mean.imag)], axis=1))


def _soft_bins(values: np.ndarray) -> np.ndarray:
    """Spreads values [seconds, n] from -1 to 1 over Gaussian bins, [seconds, n * bins]."""
    distance = (values[..., None] - _BIN_CENTRES) / (_BIN_CENTRES[1] - _BIN_CENTRES[0])
    return np.exp(-np.square(distance)).reshape(len(values), -1)
