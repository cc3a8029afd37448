"""Feature extractors: they map each window of frames to a vector."""

import dataclasses
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vtmask import files
from vtmask.errors import UserError, check_choice
from vtmask.features.decode import DamagedVideo, windows
from vtmask.features.pixel_statistics import PixelStatistics
from vtmask.features.window import Window

_S3D, _HF = "s3d", "hf:"
_S3D_WEIGHTS = "https://www.rocq.inria.fr/cluster-willow/amiech/howto100m/s3d_howto100m.pth"


class FeatureExtractor(Protocol):
    """Maps windows of frames to vectors.

    Attributes:
      name: identifies the features. It is stored with data and checkpoints, which must agree.
      size: length of a vector.
      window: the windows of video that it takes.
      batch_size: number of windows per call; the last call may get fewer.
    """

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def window(self) -> Window: ...

    @property
    def batch_size(self) -> int: ...

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Maps uint8 [windows, *window.shape] to float [windows, size]."""


@dataclasses.dataclass(frozen=True)
class FromCallable:
    """A Python callable as an extractor."""

    name: str
    size: int
    window: Window
    batch_size: int
    function: Callable[[np.ndarray], Any]

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        return np.asarray(self.function(frames))


@dataclasses.dataclass(frozen=True)
class ExtractorConfig:
    """The choice of an extractor, in a form that can be sent to another machine.

    Attributes:
      model: "s3d", "pixel-statistics-v1", `hf:FOLDER` or `hf:NAME` of a vision encoder, or a
        callable, as `FILE.py:NAME` or `MODULE:NAME`.
      weights: s3d_howto100m.pth, for "s3d".
      dtype: type of activations, for S3D and vision encoders.
      batch_size: windows per call, for all but pixel statistics.
      pooling, frame_rate, frames_per_feature: for vision encoders only, see
        `vtmask.features.huggingface`; None stands for the default there.
    """

    model: str
    weights: str | None = None
    dtype: str = "float32"
    batch_size: int = 8
    pooling: str | None = None
    frame_rate: int | None = None
    frames_per_feature: int | None = None

    def create(self) -> FeatureExtractor:
        """Makes the extractor.

        Raises:
          UserError: there is no such model, it can't be loaded, or an option does not apply to it.
        """
        names = ("pooling", "frame_rate", "frames_per_feature")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.model.startswith(_HF):
            return self._huggingface(given)
        if given:
            raise UserError(f"--{next(iter(given))} is for {_HF} models, not for {self.model}")
        if ":" in self.model:
            return from_callable(self.model, self.batch_size)
        choices = (_S3D, PixelStatistics.name, f"{_HF}FOLDER_OR_NAME", "FILE.py:CALLABLE")
        check_choice("model", self.model, choices)
        if self.model == PixelStatistics.name:
            return PixelStatistics()
        if self.weights is None:
            raise UserError(
                f"model {_S3D} needs --weights, s3d_howto100m.pth from {_S3D_WEIGHTS}; "
                f"{PixelStatistics.name} needs none"
            )
        from vtmask.features.s3d import S3DFeatures  # only here, as it needs JAX

        return S3DFeatures(self.weights, self.dtype, self.batch_size)

    def _huggingface(self, given: dict[str, Any]) -> FeatureExtractor:
        if self.weights is not None:
            raise UserError(f"--weights is for {_S3D}, not for {self.model}, which has its own")
        from vtmask.features.huggingface import HuggingFaceFeatures  # only here, as it is an extra

        model = self.model.removeprefix(_HF)
        return HuggingFaceFeatures(model, dtype=self.dtype, batch_size=self.batch_size, **given)


def create(name: str) -> FeatureExtractor:
    """Returns the extractor of features with this name; a UserError if it needs weights."""
    if name == PixelStatistics.name:
        return PixelStatistics()
    raise UserError(
        f"features {name!r} can't be made here, only {PixelStatistics.name!r}; make them with "
        "`vtmask extract`"
    )


def from_callable(place: str, batch_size: int) -> FeatureExtractor:
    """Imports a callable, FILE.py:NAME or MODULE:NAME, as an extractor.

    It maps uint8 [windows, frames, height, width, 3] to floats [windows, size]; a class is first
    instantiated. It may have the attributes `name`, of the features, by default `place`, and
    `window`, by default one frame a second of 224 pixels. A black window is used to find the size.

    Raises:
      UserError: there is no such callable, or it does not return one vector per window.
    """
    module, _, attribute = place.rpartition(":")
    function = getattr(_import(module), attribute, None)
    if isinstance(function, type):
        function = function()
    if not callable(function):
        raise UserError(f"model {place}: {module} has no callable {attribute!r}")
    window = getattr(function, "window", Window(frames=1, frame_rate=1, image_size=224))
    if not isinstance(window, Window):
        raise UserError(f"model {place}: its window is {window!r:.60}, expected a Window")
    name, size = getattr(function, "name", place), 0
    for count in (1, 2):
        black = np.asarray(function(np.zeros((count, *window.shape), np.uint8)))
        if black.ndim != 2 or len(black) != count or black.dtype.kind != "f":
            raise UserError(
                f"model {place}: gives {black.dtype} {black.shape} for {count} windows, expected "
                f"floats ({count}, size)"
            )
        size = black.shape[1]
    return FromCallable(name, size, window, batch_size, function)


def _import(module: str) -> Any:
    """Imports a module by name or file; its own imports resolve beside the file or in the cwd."""
    path = Path(module)
    is_file = path.suffix == ".py"
    sys.path.insert(0, str(path.parent.absolute() if is_file else Path.cwd()))
    try:
        if not is_file:
            return importlib.import_module(module)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = loaded  # as importing it would; dataclasses look there
        spec.loader.exec_module(loaded)
        return loaded
    except (ImportError, OSError, SyntaxError, ValueError) as error:
        raise UserError(f"model {module}: can't be imported: {error}") from error


def extract(path: str | Path, extractor: FeatureExtractor) -> np.ndarray:
    """Extracts the features of a video file, float16 [windows, extractor.size].

    Raises:
      UserError: the file cannot be decoded in full, it holds no frames, or its features are not
        finite.
    """
    features, problem = salvage(path, extractor)
    if problem:
        raise UserError(problem)
    return features


def salvage(path: str | Path, extractor: FeatureExtractor) -> tuple[np.ndarray, str]:
    """Extracts as `extract` does, from what can be decoded; also says what can't be, or ""."""
    problem = ""

    def decoded() -> Iterator[np.ndarray]:
        nonlocal problem
        try:
            yield from windows(path, extractor.window)
        except DamagedVideo as error:
            problem = str(error)

    seen, blocks = decoded(), []
    while block := list(islice(seen, extractor.batch_size)):
        blocks.append(embed(extractor, block))
    return checked(path, extractor, np.concatenate(blocks)), problem


def embed(extractor: FeatureExtractor, seen: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the features of windows; a UserError if the extractor returns another shape."""
    features = extractor(np.stack(seen))
    if features.shape != (len(seen), extractor.size):
        raise UserError(
            f"model {extractor.name}: gives {features.shape} for {len(seen)} windows, expected "
            f"{(len(seen), extractor.size)}"
        )
    return features


def checked(path: str | Path, extractor: FeatureExtractor, features: np.ndarray) -> np.ndarray:
    """Returns the features as float16; a UserError if they are not finite or of another size."""
    return files.check_features(f"{path}: {extractor.name}", features, extractor.size)
