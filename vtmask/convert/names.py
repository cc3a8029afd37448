"""Maps published names of parameters to our paths, and back: VLM, VideoCLIP and BERT.

A published name, such as `mmmodel.mm_encoder.bert.encoder.layer.0.output.dense.weight`, names one
of our parameters (`encoder/layer_0/mlp_out/kernel`, whose axes have another order), a parameter
that feeds no output, or tied parameters a second time.
"""

import re
from collections.abc import Iterable
from typing import Literal

from vtmask.convert import s3d
from vtmask.errors import UserError

Kind = Literal["vlm", "videoclip", "bert", "s3d"]

_MODULES = {  # published module → ours; # is the number of a layer
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
TIED = {
    "cls.predictions.bias": "decoder_bias",
    "cls.predictions.decoder.bias": "decoder_bias",
    "cls.predictions.decoder.weight": "words/embedding",
}
_TABLES = ("words", "positions", "segments")
_UNUSED = re.compile(
    r"(.*\.)?(pooler\.dense\.(weight|bias)|embeddings\.(position_ids|seg_embeddings\.weight)"
    r"|cls\.seq_relationship\.(weight|bias)|num_batches_tracked)"
)
TASK = "mmmodel."
_ENCODERS = {"mm_encoder.": "", "video_encoder.": "video/", "text_encoder.": "text/"}


def kind_of(names: Iterable[str]) -> Kind:
    """Returns the kind of model that has parameters with these names."""
    modules = {name.removeprefix(TASK).split(".")[0] for name in names}
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
    """Returns our path of a published parameter of VLM, VideoCLIP or BERT; None if we have none."""
    name = name.removeprefix(TASK)
    encoder, _, rest = name.partition(".")
    root = _ENCODERS.get(f"{encoder}.")
    if root is None:
        root, rest = "", name
    if rest.startswith(("embeddings.", "encoder.")):  # from a BERT without a head
        rest = f"bert.{rest}"
    if rest in TIED:
        return root + TIED[rest]
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


def _name_of(kind: Kind, path: str) -> str:
    """Returns the published name of a parameter; the inverse of `path_of` except for prefixes."""
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


def our_path(kind: Kind, name: str) -> str | None:
    """Returns our path of a published name; None if it feeds no output or is unknown."""
    if feeds_no_output(name):
        return None
    return s3d.path_of(name) if kind == "s3d" else path_of(name)


def published_name(kind: Kind, path: str) -> str:
    """Returns the published name of one of our paths; the first name if it is tied."""
    return s3d.name_of(path) if kind == "s3d" else _name_of(kind, path)


def feeds_no_output(name: str) -> bool:
    """Whether this is a published parameter on which no output of the model depends."""
    return bool(_UNUSED.fullmatch(name))
