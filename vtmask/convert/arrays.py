"""Maps published parameters to our modules': paths, axes and types; checks whether they fit."""

import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import ml_dtypes
import numpy as np
from flax import traverse_util

from vtmask import models
from vtmask.convert.names import Kind, feeds_no_output, our_path, published_name
from vtmask.convert.options import Options
from vtmask.errors import UserError
from vtmask.models import VLM, VLMConfig
from vtmask.models.layers import EncoderConfig
from vtmask.models.s3d import MAX_WORDS, S3D
from vtmask.models.transformer import Bert

_DTYPES = [np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]


@dataclasses.dataclass(frozen=True)
class Parameters:
    """Published parameters, separated by use.

    Attributes:
      used: our path → parameter as our modules have it; unknown ones under their published names.
      unused: published name → parameter that feeds no output.
      names: our path → published name, for `used`.
    """

    used: dict[str, np.ndarray]
    unused: dict[str, np.ndarray]
    names: dict[str, str]

    def params(self) -> dict[str, Any]:
        """Returns `used` as the pytree of a module's parameters."""
        return traverse_util.unflatten_dict(self.used, sep="/")


def parameters(kind: Kind, weights: Mapping[str, np.ndarray]) -> Parameters:
    """Maps published parameters to ours: our paths and axes, and float32 for shorter floats.

    Dense weights [out, in] become kernels [in, out]; convolution weights [out, in, time, height,
    width] become kernels [time, height, width, in, out].

    Raises:
      UserError: a parameter differs from one that it is tied to.
    """
    used: dict[str, np.ndarray] = {}
    unused: dict[str, np.ndarray] = {}
    names: dict[str, str] = {}
    for name, value in weights.items():
        if value.dtype in _DTYPES:
            value = value.astype(np.float32, copy=False)
        if feeds_no_output(name):
            unused[name] = value
            continue
        path = our_path(kind, name) or name
        value = reordered(path, value, inverse=True)
        if path in used and not _same_bits(used[path], value):
            raise UserError(f"{name} differs from {names[path]}, which it is tied to")
        used[path], names[path] = value, name
    if kind == "vlm" and "words/embedding" in used:
        used.setdefault("decoder_bias", np.zeros(len(used["words/embedding"]), np.float32))
    return Parameters(used, unused, names)


def _same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and one.tobytes() == other.tobytes()


def reordered(path: str, value: np.ndarray, inverse: bool = False) -> np.ndarray:
    """Transposes a parameter's axes to the published order, or to ours if `inverse`."""
    if not path.endswith("/kernel"):
        return value
    if value.ndim == 5:
        return value.transpose(2, 3, 4, 1, 0) if inverse else value.transpose(4, 3, 0, 1, 2)
    return value.T


def s3d_from_published(weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Maps the parameters of `s3d_howto100m.pth` to those of `vtmask.models.s3d.S3D`.

    Raises:
      UserError: a parameter is missing, unknown or of another shape or type; the message names it.
    """
    converted = parameters("s3d", weights)
    words = converted.used.get("text/word_embd/embedding")
    require_fit("s3d", converted, S3D() if words is None else S3D(len(words)))
    return converted.params()


def module_of(kind: Kind, used: Mapping[str, np.ndarray], options: Options) -> Any:
    """Makes the module with the sizes of the parameters.

    Raises:
      UserError: a parameter that determines a size is missing, or the options do not fit the sizes.
    """
    if kind == "s3d":
        return S3D(_size(kind, used, "text/word_embd/embedding", 0))
    root = "text/" if kind == "videoclip" else ""
    size = functools.partial(_size, kind, used)
    hidden_size = size(f"{root}words/embedding", 1)
    num_heads = hidden_size // 64 if options.num_heads is None else options.num_heads
    if num_heads < 1 or hidden_size % num_heads:
        raise UserError(
            f"its hidden size is {hidden_size}, not a multiple of {num_heads} heads; give "
            "--num_heads"
        )
    model_config: dict[str, Any] = {
        "hidden_size": hidden_size,
        "num_layers": _num_layers(used, root),
        "num_heads": num_heads,
        "mlp_size": size(f"{root}encoder/layer_0/mlp_in/kernel", 1),
        "vocab_size": size(f"{root}words/embedding", 0),
        "num_positions": size(f"{root}positions/embedding", 0),
    }
    if kind == "bert":
        return Bert(EncoderConfig(**model_config))
    model_config["max_video_len"], model_config["max_len"] = options.max_video_len, options.max_len
    if kind == "vlm":
        model_config["feature_size"] = size("video_mlp/in/kernel", 0)
        if "classifier/kernel" in used:
            model_config["num_classes"] = size("classifier/kernel", 1)
    else:
        model_config["feature_size"] = size("video/video_mlp/in/kernel", 0)
        size("video/encoder/layer_0/mlp_in/kernel", 1)  # checks that there is a layer
        model_config["num_video_layers"] = _num_layers(used, "video/")
    try:
        return models.create(models.CONFIGS[kind](**model_config))
    except UserError as error:  # its message is written for recipes
        raise UserError(str(error).replace("config.model.", "--")) from error


def _size(kind: Kind, used: Mapping[str, np.ndarray], path: str, axis: int) -> int:
    if path not in used:
        raise UserError(f"{published_name(kind, path)} is missing")
    if used[path].ndim != 2:
        raise UserError(
            f"{published_name(kind, path)} is {used[path].shape}, expected two dimensions"
        )
    return used[path].shape[axis]


def _num_layers(used: Iterable[str], root: str) -> int:
    layers = (re.match(rf"{root}encoder/(layer_[0-9]+)/", path) for path in used)
    return len({layer[1] for layer in layers if layer})


def require_fit(kind: Kind, converted: Parameters, module: Any) -> None:
    """Raises a UserError unless these are exactly the module's parameters, shapes and float32."""
    used, names = converted.used, converted.names
    expected = _expected_shapes(module, used)
    missing, unknown = sorted(expected.keys() - used.keys()), sorted(used.keys() - expected.keys())
    wrong = [f"{published_name(kind, path)} is missing" for path in missing]
    wrong += [f"{names[path]} is unknown" for path in unknown]
    for path in sorted(expected.keys() & used.keys()):
        if used[path].shape != expected[path]:
            like = np.broadcast_to(False, expected[path])  # takes no memory
            theirs, ours = (reordered(path, value).shape for value in (used[path], like))
            wrong.append(f"{names[path]} is {theirs}, expected {ours}")
        elif used[path].dtype != np.float32:
            dtypes = ", ".join(dtype.name for dtype in _DTYPES)
            wrong.append(f"{names[path]} is {used[path].dtype}, expected one of {dtypes}")
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise UserError(f"parameters do not fit the model: {'; '.join(wrong[:5])}{more}")


def _expected_shapes(module: Any, used: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a module's parameters; a head counts only if any of it is in `used`."""
    if isinstance(module, S3D):
        frames = jax.ShapeDtypeStruct((1, 16, 32, 32, 3), np.uint8)
        text = jax.ShapeDtypeStruct((1, MAX_WORDS), np.int32)
        initial = jax.eval_shape(module.init, jax.random.key(0), frames, text)["params"]
        return _shapes(initial)
    # A BERT has the parameters of a VLM without video.
    is_bert = type(module) is Bert
    if is_bert:
        model_config = dataclasses.asdict(module.config)
        module = VLM(VLMConfig(**model_config, max_video_len=1, max_len=4))
    optional = {"head", "decoder_bias"} - {path.split("/")[0] for path in used}
    optional |= {"video_mlp"} if is_bert else set()
    shapes = _shapes(jax.eval_shape(functools.partial(models.initial_params, module), 0))
    return {path: shape for path, shape in shapes.items() if path.split("/")[0] not in optional}


def _shapes(params: Any) -> dict[str, tuple[int, ...]]:
    return {path: leaf.shape for path, leaf in traverse_util.flatten_dict(params, sep="/").items()}
