"""Converts published files to exports, and exports back."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from vtmask import export, files, models, tokenizers
from vtmask.convert import read
from vtmask.convert.arrays import Parameters, module_of, parameters, require_fit
from vtmask.convert.names import TIED, Kind, kind_of
from vtmask.convert.options import Options
from vtmask.convert.write import to_published
from vtmask.errors import UserError
from vtmask.export import BertModel, Model, S3DModel
from vtmask.models.transformer import Bert
from vtmask.tokenizers import Tokenizer

_PADDED_TO = 8  # word tables may be padded with rows without a token to a multiple of this
_MOST_SPARE_ROWS = 127  # some are padded to a multiple of 128


def convert(source: Path, out: Path, options: Options) -> list[str]:
    """Converts published weights to an export in the folder `out`, or an export to the file `out`.

    Returns:
      A line for each difference between input and output: names, rows without a token.

    Raises:
      UserError: a file cannot be read or holds something else; parameters, which the message names,
        are missing, unknown or of other shapes; or options do not fit. Nothing is written then.
    """
    if not (source / "model.json").exists():
        return to_export(source, out, options)
    if options != Options():
        raise UserError(f"{source}: is an exported model, which takes only --out")
    to_published(source, out)
    return []


def to_export(source: Path, out: Path, options: Options) -> list[str]:
    """Converts published weights to an export; see `convert`.

    Parameters of float16 and bfloat16 become float32.
    """
    if out.exists() and not (out / "model.json").exists():
        raise UserError(f"{out}: exists and is not an exported model; choose another --out")
    if source.resolve().is_relative_to(out.resolve()):
        raise UserError(f"{out}: holds {source}, which it would replace; choose another --out")
    folder = read.huggingface_folder(source) if source.is_dir() else None
    file = folder.weights if folder else source
    if folder:
        options = dataclasses.replace(
            options,
            vocab=options.vocab or folder.path,
            num_heads=folder.num_heads if options.num_heads is None else options.num_heads,
        )
    weights = read.weights(file)
    try:
        kind = kind_of(weights.arrays)
        converted = parameters(kind, weights.arrays)
        module = module_of(kind, converted.used, options)
        require_fit(kind, converted, module)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    notes = []
    if weights.wrappers:
        notes.append(f"{file}: stripped {', '.join(weights.wrappers)} from its parameters' names")
    config: dict[str, Any] = {"init_from": str(source), "num_steps": 0}
    config["published_names"] = list(weights.arrays)
    if read.is_safetensors(file) and kind == "bert" and "decoder_bias" in converted.used:
        # A safetensors file holds tied parameters once; a PyTorch file holds them under each name.
        config["published_names"] += [name for name in TIED if name not in weights.arrays]
    if kind == "s3d":
        if options != Options():
            raise UserError(f"{file}: is an S3D, which takes only --out")
        export.save(out, S3DModel(module, converted.params(), config), converted.unused)
        return notes
    if folder:
        folder.require_sizes(module.config)
    rows = module.config.vocab_size
    tokenizer = _tokenizer(file, rows, options)
    model_config = dataclasses.replace(module.config, vocab_size=tokenizer.vocab_size)
    if tokenizer.vocab_size < rows:
        converted = _without_spare_rows(converted, tokenizer.vocab_size)
        notes.append(
            f"{file}: rows {tokenizer.vocab_size} to {rows - 1} of its {rows} word embeddings are "
            f"left out, as {options.vocab} has {tokenizer.vocab_size} pieces"
        )
    model: BertModel | Model
    if kind == "bert":
        if dataclasses.replace(options, vocab=None, num_heads=None) != Options():
            raise UserError(f"{file}: is a BERT, which takes --vocab, --num_heads and --out")
        model = BertModel(Bert(model_config), converted.params(), tokenizer, config)
    else:
        model = _video_text_model(kind, converted, model_config, tokenizer, config, options)
    export.save(out, model, converted.unused)
    return notes


def _video_text_model(
    kind: Kind,
    converted: Parameters,
    model_config: Any,
    tokenizer: Tokenizer,
    config: dict[str, Any],
    options: Options,
) -> Model:
    """Completes a VLM or VideoCLIP with the settings that its weights do not contain."""
    ids = {name: getattr(tokenizer, name) for name in ("pad_id", "cls_id", "sep_id", "mask_id")}
    model_config = dataclasses.replace(model_config, **ids)
    class_names = _class_names(model_config.num_classes, options)
    task: dict[str, Any] = {"name": "segmentation" if class_names else "pretrain"}
    if options.isolated_layers is not None:
        if kind != "vlm" or not 0 <= options.isolated_layers <= model_config.num_layers:
            raise UserError(
                f"--isolated_layers is {options.isolated_layers}, expected 0 to the layers of a VLM"
            )
        task["isolated_layers"] = options.isolated_layers
    return Model(
        models.create(model_config),
        converted.params(),
        tokenizer,
        options.feature_extractor,
        1.0,
        config | {"task": task},
        class_names,
    )


def _tokenizer(file: Path, rows: int, options: Options) -> Tokenizer:
    """Reads the tokenizer of a model whose word table has `rows` rows."""
    if options.vocab is None:
        raise UserError(f"{file}: needs the tokenizer of its {rows} words: --vocab vocab.txt")
    tokenizer = tokenizers.read_published(options.vocab)
    spare = rows - tokenizer.vocab_size
    padded = rows % _PADDED_TO == 0 and 0 < spare <= _MOST_SPARE_ROWS
    if spare and not padded:
        raise UserError(
            f"{options.vocab}: has {tokenizer.vocab_size} pieces, but {file} has embeddings of "
            f"{rows}; give the vocabulary the model was trained with"
        )
    return tokenizer


def _without_spare_rows(converted: Parameters, vocab_size: int) -> Parameters:
    """Moves rows without a token to `unused`, under the path of their table."""
    used, unused = dict(converted.used), dict(converted.unused)
    for path, value in converted.used.items():
        if path.endswith("words/embedding") or path == "decoder_bias":
            used[path], unused[path] = np.split(value, [vocab_size])
    return dataclasses.replace(converted, used=used, unused=unused)


def _class_names(num_classes: int, options: Options) -> tuple[str, ...]:
    if options.class_names is None:
        return tuple(f"class {i}" for i in range(num_classes))
    class_names = tuple(files.read_text(options.class_names).splitlines())
    if len(class_names) != num_classes:
        raise UserError(
            f"{options.class_names}: has {len(class_names)} lines, expected {num_classes}, one per "
            "class of the model's classifier"
        )
    return class_names
