"""Published weights to our exports, and back: MMPT's VLM and VideoCLIP, BERT, S3D.

A published name, such as `mmmodel.mm_encoder.bert.encoder.layer.0.output.dense.weight`, stands for
one of our parameters, `encoder/layer_0/mlp_out/kernel`, whose axes have another order; for one that
feeds no output; or for a second name of tied parameters. `config["published_names"]` of an export
lists those it was made of.
"""

import dataclasses
import functools
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
from flax import traverse_util

from vtmask import disk, export, files, models, tokenizers
from vtmask.errors import UserError, reason
from vtmask.export import BertModel, Model, S3DModel
from vtmask.files import pytorch
from vtmask.models import VLM, VLMConfig, initial_params
from vtmask.models.s3d import MAX_WORDS, S3D
from vtmask.models.transformer import LAYER_NORM_EPSILON, Bert, EncoderConfig
from vtmask.tokenizers import Tokenizer

_MODULES = {  # of the published code, and ours; # is the number of a layer
    "videomlp.linear1": "video_mlp/in",
    "videomlp.LayerNorm": "video_mlp/norm",
    "videomlp.linear2": "video_mlp/out",
    "bert.embeddings.word_embeddings": "words",
    "bert.embeddings.position_embeddings": "positions",
    "bert.embeddings.token_type_embeddings": "segments",
    "bert.embeddings.LayerNorm": "embedding_norm",
    "bert.encoder.layer.#.attention.self.query": "encoder/layer_#/attention/query",
    "bert.encoder.layer.#.attention.self.key": "encoder/layer_#/attention/key",
    "bert.encoder.layer.#.attention.self.value": "encoder/layer_#/attention/value",
    "bert.encoder.layer.#.attention.output.dense": "encoder/layer_#/attention/output",
    "bert.encoder.layer.#.attention.output.LayerNorm": "encoder/layer_#/attention_norm",
    "bert.encoder.layer.#.intermediate.dense": "encoder/layer_#/mlp_in",
    "bert.encoder.layer.#.output.dense": "encoder/layer_#/mlp_out",
    "bert.encoder.layer.#.output.LayerNorm": "encoder/layer_#/mlp_norm",
    "cls.predictions.transform.dense": "head/dense",
    "cls.predictions.transform.LayerNorm": "head/norm",
    "classifier": "classifier",
}
_PUBLISHED = {ours: theirs for theirs, ours in _MODULES.items()}
_TIED = {
    "cls.predictions.bias": "decoder_bias",
    "cls.predictions.decoder.bias": "decoder_bias",
    "cls.predictions.decoder.weight": "words/embedding",
}
_TABLES = ("words", "positions", "segments")
_UNUSED = re.compile(
    r"(.*\.)?(pooler\.dense\.(weight|bias)|embeddings\.(position_ids|seg_embeddings\.weight)"
    r"|cls\.seq_relationship\.(weight|bias)|num_batches_tracked)"
)
_TASK = "mmmodel."
_ENCODERS = {"mm_encoder.": "", "video_encoder.": "video/", "text_encoder.": "text/"}
_SEGMENT_ROWS = 256  # of the published `seg_embeddings`
_DTYPES = [np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]
_SAFE = ".safetensors"
_SIZES = {  # of Hugging Face's config.json, and ours
    "hidden_size": "hidden_size",
    "num_hidden_layers": "num_layers",
    "intermediate_size": "mlp_size",
    "vocab_size": "vocab_size",
    "max_position_embeddings": "num_positions",
}
_WEIGHT_FILES = (f"model{_SAFE}", "pytorch_model.bin")
_EXTRA = "pip install -e '.[convert]'"


@dataclasses.dataclass(frozen=True)
class Options:
    """What published weights do not tell.

    Attributes:
      vocab: the tokenizer's file; by default the vocab.txt of a Hugging Face folder.
      num_heads: by default as config.json says, or hidden_size / 64.
      max_video_len, max_len: see `vtmask.models.VLMConfig`.
      feature_extractor: name of what made the features, one a second.
      class_names: file with the names of a classifier's classes, one a line.
      isolated_layers: that a VLM was fine-tuned with, 12 as published; None is the form of
        pre-training, see `vtmask.tasks.separate`.
    """

    vocab: Path | None = None
    num_heads: int | None = None
    max_video_len: int = 32
    max_len: int = 96
    feature_extractor: str = "s3d-howto100m"
    class_names: Path | None = None
    isolated_layers: int | None = None


def convert(source: Path, out: Path, options: Options) -> None:
    """Published weights to an export in the folder `out`, or an export to the file `out`.

    Raises:
      UserError: a file cannot be read or holds something else; parameters are missing, unknown or
        of other shapes, and its message names them; options do not fit. Nothing is written then.
    """
    if (source / "model.json").exists():
        if options != Options():
            raise UserError(f"{source}: is an exported model; converting it back takes --out alone")
        to_published(source, out)
    else:
        to_export(source, out, options)


def to_export(source: Path, out: Path, options: Options) -> None:
    """Published weights to an export; see `convert`.

    Parameters of float16 and bfloat16 become float32.
    """
    if out.exists() and not (out / "model.json").exists():
        raise UserError(f"{out}: exists and is no exported model; give --out another name")
    if source.resolve().is_relative_to(out.resolve()):
        raise UserError(f"{out}: holds {source}, which it would replace; give --out another name")
    file = source
    told: dict[str, int] = {}
    if source.is_dir():
        file, options, told = _huggingface(source, options)
    content = _read_safetensors(file) if file.suffix == _SAFE else pytorch.load(file)
    try:
        weights = state_dict(content)
        kind = _kind(weights)
        found = parameters(kind, weights)
        module = _module(kind, found.used, options)
        _require_fit(kind, found, _expected(module, found.used))
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    params, unused = found.params(), found.unused
    config: dict[str, Any] = {"init_from": str(source), "num_steps": 0}
    config["published_names"] = list(weights)
    if file.suffix == _SAFE and kind == "bert" and "decoder_bias" in found.used:
        # Such a file holds tied parameters once, a file of PyTorch's by each of their names.
        config["published_names"] += [name for name in _TIED if name not in weights]
    if kind == "s3d":
        if options != Options():
            raise UserError(f"{file}: is an S3D, whose conversion takes --out alone")
        export.save(out, S3DModel(module, params, config), unused)
        return
    tokenizer = _tokenizer(file, module.config.vocab_size, options)
    if kind == "bert":
        given = dataclasses.replace(options, vocab=None, num_heads=None)
        if given != Options():
            raise UserError(f"{file}: is a BERT, which takes --vocab, --num_heads and --out")
        for field, size in told.items():
            ours = getattr(module.config, _SIZES[field])
            if ours != size:
                raise UserError(
                    f"{file}: {_SIZES[field]} is {ours}, but {field} in config.json is {size}"
                )
        export.save(out, BertModel(module, params, tokenizer, config), unused)
        return
    ids = {name: getattr(tokenizer, name) for name in ("pad_id", "cls_id", "sep_id", "mask_id")}
    model_config = dataclasses.replace(module.config, **ids)
    names = _class_names(model_config.num_classes, options)
    config["task"] = {"name": "segmentation" if names else "pretrain"}
    if options.isolated_layers is not None:
        if kind != "vlm" or not 0 <= options.isolated_layers <= model_config.num_layers:
            raise UserError(
                f"--isolated_layers is {options.isolated_layers}, expected 0 to the layers of a VLM"
            )
        config["task"]["isolated_layers"] = options.isolated_layers
    extractor = options.feature_extractor
    model = Model(models.create(model_config), params, tokenizer, extractor, 1.0, config, names)
    export.save(out, model, unused)


def to_published(folder: Path, out: Path) -> None:
    """An export to a file of PyTorch's; see `convert`.

    Bit for bit what the export was made of, where `vtmask convert` made it of float32 parameters.
    Else it has all parameters that the published code expects, those that feed no output zero.
    """
    try:
        import torch
    except ImportError as error:
        raise UserError(f"{out}: PyTorch is not installed, which writes it; {_EXTRA}") from error
    if out.is_dir():
        raise UserError(f"{out}: is a folder, expected the name of a file")
    model = export.load_any(folder)
    kind = type(model.module).__name__.lower()
    used = traverse_util.flatten_dict(model.params, sep="/")
    arrays = {path: _reordered(path, np.asarray(value)) for path, value in used.items()}
    names = model.config.get("published_names")
    if names is None:
        unused = _fresh_unused(kind, model.module.config)
        names = [*_published_names(kind, arrays), *unused]
    else:
        unused = export.load_unused(folder)
    tensors = {
        key: torch.from_numpy(np.array(value, order="C"))
        for key, value in (arrays | unused).items()
    }
    try:
        content: Any = {name: tensors[_path(kind, name) or name] for name in names}
    except KeyError as error:
        raise UserError(f"{folder}: has no {error}, which it was made of") from error
    if isinstance(model, Model):
        content = {"model": content}
    unfinished = disk.unfinished(out)
    try:
        with unfinished.open("wb") as file:
            torch.save(content, file)
        os.replace(unfinished, out)
    except (OSError, RuntimeError) as error:
        unfinished.unlink(missing_ok=True)
        raise UserError(f"{out}: can't be written ({reason(error)})") from error


def state_dict(content: Any) -> dict[str, np.ndarray]:
    """Parameters by name in a file's content, alone or under "model", as fairseq writes them.

    Raises:
      UserError: it holds something else.
    """
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if (
        not isinstance(content, dict)
        or not content
        or not all(isinstance(name, str) for name in content)
        or not all(isinstance(value, np.ndarray) for value in content.values())
    ):
        raise UserError("holds other things than parameters")
    return content


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise UserError(
            f"{path}: safetensors is not installed, which reads it; {_EXTRA}"
        ) from error
    try:
        return load_file(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error
    except (SafetensorError, AttributeError, TypeError) as error:  # the latter: of unknown dtypes
        raise UserError(f"{path}: is damaged or of another format: {reason(error)}") from error


def _huggingface(folder: Path, options: Options) -> tuple[Path, Options, dict[str, int]]:
    """The weights' file in a folder, the options with what else the folder says, and the sizes that
    its config.json names."""
    weights = [folder / name for name in _WEIGHT_FILES if (folder / name).exists()]
    if not weights:
        raise UserError(
            f"{folder}: has no {' or '.join(_WEIGHT_FILES)}, as a BERT of Hugging Face's has, and "
            "no model.json, as an exported model has"
        )
    path = folder / "config.json"
    config = files.read_json(path)
    heads = files.field(config, "num_attention_heads", int, str(path))
    model_config = {
        name: files.field(config, name, int, str(path)) for name in _SIZES if name in config
    }
    ours = {
        "model_type": "bert",
        "hidden_act": "gelu",
        "layer_norm_eps": LAYER_NORM_EPSILON,
        "position_embedding_type": "absolute",
    }
    for field, value in ours.items():
        if config.get(field, value) != value:
            raise UserError(
                f"{path}: {field} is {config[field]!r}, only {value!r} can be converted"
            )
    path = folder / "tokenizer_config.json"
    told = files.read_json(path) if path.exists() else {}
    if not isinstance(told, dict):
        raise UserError(f"{path}: holds {type(told).__name__}, expected an object")
    for field in ("do_lower_case", "strip_accents", "tokenize_chinese_chars"):
        if told.get(field) is False:
            raise UserError(
                f"{path}: {field} is false, only uncased models with it true can be converted"
            )
    options = dataclasses.replace(
        options,
        vocab=options.vocab or folder / "vocab.txt",
        num_heads=heads if options.num_heads is None else options.num_heads,
    )
    return weights[0], options, model_config


def _tokenizer(file: Path, vocab_size: int, options: Options) -> Tokenizer:
    if options.vocab is None:
        raise UserError(f"{file}: needs the tokenizer of its {vocab_size} words: --vocab vocab.txt")
    tokenizer = tokenizers.load(options.vocab)
    if tokenizer.vocab_size != vocab_size:
        raise UserError(
            f"{options.vocab}: has {tokenizer.vocab_size} pieces, but {file} has embeddings of "
            f"{vocab_size}; give the vocabulary the model was trained with"
        )
    return tokenizer


def _class_names(num_classes: int, options: Options) -> tuple[str, ...]:
    if options.class_names is None:
        return tuple(f"class {i}" for i in range(num_classes))
    names = tuple(files.read_text(options.class_names).splitlines())
    if len(names) != num_classes:
        raise UserError(
            f"{options.class_names}: has {len(names)} lines, expected {num_classes}, one a class "
            "of the model's classifier"
        )
    return names


def _kind(names: Iterable[str]) -> str:
    """Which model has parameters of these names."""
    modules = {name.removeprefix(_TASK).split(".")[0] for name in names}
    if "mm_encoder" in modules:
        return "vlm"
    if modules & {"video_encoder", "text_encoder"}:
        return "videoclip"
    if modules & {"bert", "embeddings"}:
        return "bert"
    if modules & {"text_module", "mixed_3b"}:
        return "s3d"
    raise UserError(
        f"its parameters are of {', '.join(sorted(modules)[:5])}, expected those of a VLM, a "
        "VideoCLIP, a BERT or an S3D"
    )


def path_of(name: str) -> str | None:
    """Our path of a published parameter of VLM, VideoCLIP or BERT; None where we have none."""
    name = name.removeprefix(_TASK)
    encoder, _, rest = name.partition(".")
    root = _ENCODERS.get(f"{encoder}.")
    if root is None:
        root, rest = "", name
    if rest.startswith(("embeddings.", "encoder.")):  # of a BERT without a head
        rest = f"bert.{rest}"
    if rest in _TIED:
        return root + _TIED[rest]
    module, _, leaf = rest.rpartition(".")
    ours = _MODULES.get(re.sub(r"(?<=\.layer\.)[0-9]+(?=\.)", "#", module))
    if ours is None:
        return None
    if ours.endswith("norm"):
        leaves = {"weight": "scale", "bias": "bias", "gamma": "scale", "beta": "bias"}
    elif ours in _TABLES:
        leaves = {"weight": "embedding"}
    else:
        leaves = {"weight": "kernel", "bias": "bias"}
    if leaf not in leaves:
        return None
    number = re.search(r"\.layer\.([0-9]+)\.", module)
    path = ours.replace("#", number[1]) if number else ours
    return f"{root}{path}/{leaves[leaf]}"


def _name_of(kind: str, path: str) -> str:
    """The published name of a parameter; the inverse of `path_of` but for prefixes."""
    prefix = {"vlm": "mmmodel.mm_encoder.", "bert": ""}.get(kind)
    if prefix is None:
        encoder, _, path = path.partition("/")
        prefix = f"mmmodel.{encoder}_encoder."
    if path == "decoder_bias":
        return prefix + "cls.predictions.bias"
    parent, _, leaf = path.rpartition("/")
    number = re.search(r"layer_([0-9]+)", parent)
    module = _PUBLISHED[re.sub(r"layer_[0-9]+", "layer_#", parent)]
    if number:
        module = module.replace("#", number[1])
    if prefix.endswith("text_encoder."):
        module = module.removeprefix("bert.")
    return f"{prefix}{module}.{'bias' if leaf == 'bias' else 'weight'}"


_S3D_LEAVES = {"weight": "kernel", "bias": "bias", "running_mean": "mean", "running_var": "var"}


def _s3d_path_of(name: str) -> str | None:
    *modules, layer, leaf = ["", *name.split(".")]
    is_norm = layer.startswith("bn")
    if leaf not in _S3D_LEAVES or (layer.startswith("conv") and leaf != "weight"):
        return None
    ours = _S3D_LEAVES[leaf]
    if is_norm:
        layer = layer.replace("bn", "conv")  # a `ConvNorm` is both
        ours = "scale" if leaf == "weight" else ours
    elif layer == "word_embd":
        ours = "embedding"
    tower = "text" if modules[1:2] == ["text_module"] else "video"
    return "/".join([tower, *modules[2 if tower == "text" else 1 :], layer, ours])


def _s3d_name_of(path: str) -> str:
    tower, *modules, layer, leaf = path.split("/")
    if layer.startswith("conv") and leaf != "kernel":
        layer = layer.replace("conv", "bn")
    if tower == "text":
        modules = ["text_module", *modules]
    leaves = {ours: theirs for theirs, ours in _S3D_LEAVES.items()}
    return ".".join([*modules, layer, leaves.get(leaf, "weight")])


def _path(kind: str, name: str) -> str | None:
    """Our path of a published name; None where it feeds no output or is unknown."""
    if _UNUSED.fullmatch(name):
        return None
    return _s3d_path_of(name) if kind == "s3d" else path_of(name)


def _name(kind: str, path: str) -> str:
    """The published name of one of our paths."""
    return _s3d_name_of(path) if kind == "s3d" else _name_of(kind, path)


def _published_names(kind: str, used: Mapping[str, np.ndarray]) -> list[str]:
    """Names of a model that was not converted: tied ones too; a decoder's bias if it has one."""
    names = [_name(kind, path) for path in used if path != "decoder_bias"]
    if kind == "vlm":
        tied = ["decoder.weight"]
        if used["decoder_bias"].any():
            tied += ["bias", "decoder.bias"]
        names += [f"mmmodel.mm_encoder.cls.predictions.{name}" for name in tied]
    return names


def _fresh_unused(kind: str, model_config: Any) -> dict[str, np.ndarray]:
    """What a published model has besides, though it feeds no output."""
    found: dict[str, np.ndarray] = {}
    encoders = {
        "vlm": ["mm_encoder.bert."],
        "videoclip": ["video_encoder.bert.", "text_encoder."],
    }
    hidden = model_config.hidden_size
    for encoder in encoders[kind]:
        root = _TASK + encoder
        found[f"{root}embeddings.position_ids"] = np.arange(model_config.num_positions)[None]
        if kind == "vlm":
            table = np.zeros((_SEGMENT_ROWS, hidden), np.float32)
            found[f"{root}embeddings.seg_embeddings.weight"] = table
        found[f"{root}pooler.dense.weight"] = np.zeros((hidden, hidden), np.float32)
        found[f"{root}pooler.dense.bias"] = np.zeros(hidden, np.float32)
    return found


@dataclasses.dataclass(frozen=True)
class Parameters:
    """Published parameters, sorted.

    Attributes:
      used: by our paths, as our modules have them; unknown ones by their names.
      unused: those that feed no output, by their names.
      names: of `used`, by path.
    """

    used: dict[str, np.ndarray]
    unused: dict[str, np.ndarray]
    names: dict[str, str]

    def params(self) -> dict[str, Any]:
        """The pytree of a module's parameters."""
        return traverse_util.unflatten_dict(self.used, sep="/")


def parameters(kind: str, weights: Mapping[str, np.ndarray]) -> Parameters:
    """Published parameters as ours: float32 for shorter floats, with our paths and axes.

    Dense weights [out, in] become kernels [in, out], and those of convolutions [out, in, time,
    height, width] kernels [time, height, width, in, out].

    Raises:
      UserError: a parameter differs from one that it is tied to.
    """
    used: dict[str, np.ndarray] = {}
    unused: dict[str, np.ndarray] = {}
    names: dict[str, str] = {}
    for name, value in weights.items():
        if value.dtype in _DTYPES:
            value = value.astype(np.float32, copy=False)
        if _UNUSED.fullmatch(name):
            unused[name] = value
            continue
        path = _path(kind, name) or name
        value = _reordered(path, value, inverse=True)
        if path in used and not _same_bits(used[path], value):
            raise UserError(f"{name} differs from {names[path]}, which it is tied to")
        used[path], names[path] = value, name
    if kind == "vlm" and "words/embedding" in used:
        used.setdefault("decoder_bias", np.zeros(len(used["words/embedding"]), np.float32))
    return Parameters(used, unused, names)


def _same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and one.tobytes() == other.tobytes()


def _reordered(path: str, value: np.ndarray, inverse: bool = False) -> np.ndarray:
    """A parameter with its axes in the published order, or from that order to ours."""
    if not path.endswith("/kernel"):
        return value
    if value.ndim == 5:
        return value.transpose(2, 3, 4, 1, 0) if inverse else value.transpose(4, 3, 0, 1, 2)
    return value.T


def s3d_from_published(weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Parameters of `vtmask.models.s3d.S3D` from those of `s3d_howto100m.pth`.

    Raises:
      UserError: a parameter is missing, unknown or of another shape or type; its name is told.
    """
    found = parameters("s3d", weights)
    words = found.used.get("text/word_embd/embedding")
    module = S3D() if words is None else S3D(len(words))
    _require_fit("s3d", found, _expected(module, found.used))
    return found.params()


def _module(kind: str, used: Mapping[str, np.ndarray], options: Options) -> Any:
    """The module of the sizes that the parameters have."""
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
        size("video/encoder/layer_0/mlp_in/kernel", 1)  # there is one
        model_config["num_video_layers"] = _num_layers(used, "video/")
    try:
        return models.create(models.CONFIGS[kind](**model_config))
    except UserError as error:  # written for recipes
        raise UserError(str(error).replace("config.model.", "--")) from error


def _size(kind: str, used: Mapping[str, np.ndarray], path: str, axis: int) -> int:
    if path not in used:
        raise UserError(f"{_name(kind, path)} is missing")
    if used[path].ndim != 2:
        raise UserError(f"{_name(kind, path)} is {used[path].shape}, expected two dimensions")
    return used[path].shape[axis]


def _num_layers(used: Iterable[str], root: str) -> int:
    found = (re.match(rf"{root}encoder/(layer_[0-9]+)/", path) for path in used)
    return len({match[1] for match in found if match})


def _expected(module: Any, used: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters a module has; of a head only where there is anything of one."""
    if isinstance(module, S3D):
        frames = jax.ShapeDtypeStruct((1, 16, 32, 32, 3), np.uint8)
        text = jax.ShapeDtypeStruct((1, MAX_WORDS), np.int32)
        initial = jax.eval_shape(module.init, jax.random.key(0), frames, text)["params"]
        return _shapes(initial)
    # A BERT is a VLM without video.
    is_bert = type(module) is Bert
    if is_bert:
        model_config = dataclasses.asdict(module.config)
        module = VLM(VLMConfig(**model_config, max_video_len=1, max_len=4))
    optional = {"head", "decoder_bias"} - {path.split("/")[0] for path in used}
    optional |= {"video_mlp"} if is_bert else set()
    shapes = _shapes(jax.eval_shape(functools.partial(initial_params, module), 0))
    return {path: shape for path, shape in shapes.items() if path.split("/")[0] not in optional}


def _shapes(params: Any) -> dict[str, tuple[int, ...]]:
    return {path: leaf.shape for path, leaf in traverse_util.flatten_dict(params, sep="/").items()}


def _require_fit(kind: str, found: Parameters, expected: Mapping[str, tuple[int, ...]]) -> None:
    """UserError unless all parameters are there, in their shapes, floats, and no others."""
    used = found.used
    wrong = [f"{_name(kind, path)} is missing" for path in sorted(expected.keys() - used.keys())]
    wrong += [f"{found.names[path]} is unknown" for path in sorted(used.keys() - expected.keys())]
    for path in sorted(expected.keys() & used.keys()):
        if used[path].shape != expected[path]:
            like = np.broadcast_to(False, expected[path])  # takes no memory
            theirs, ours = (_reordered(path, value).shape for value in (used[path], like))
            wrong.append(f"{found.names[path]} is {theirs}, expected {ours}")
        elif used[path].dtype != np.float32:
            dtypes = ", ".join(dtype.name for dtype in _DTYPES)
            wrong.append(f"{found.names[path]} is {used[path].dtype}, expected one of {dtypes}")
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise UserError(f"parameters do not fit the model: {'; '.join(wrong[:5])}{more}")
