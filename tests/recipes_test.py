"""Recipes have the published settings, are consistent, and run from published files to a report."""

import importlib
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import synthetic
import tensorflow_datasets as tfds
from data_activitynet import activitynet_dataset_builder_test as activitynet
from data_charades_sta import charades_sta_dataset_builder_test as charades_sta
from data_coin import coin_dataset_builder_test as coin
from data_crosstask import crosstask_dataset_builder_test as crosstask
from data_didemo import didemo_dataset_builder_test as didemo
from data_msrvtt import msrvtt_dataset_builder_test as msrvtt
from data_qvhighlights import qvhighlights_dataset_builder_test as qvhighlights
from data_youcook2 import youcook2_dataset_builder_test as youcook2
from ml_collections import ConfigDict

import evaluate
import train
from configs import videoclip_finetuning, zeroshot
from vtmask import export, models, recipe, tasks
from vtmask.errors import UserError
from vtmask.evaluation import captioning
from vtmask.export import Model
from vtmask.inputs import samplers
from vtmask.inputs.dataset import Dataset
from vtmask.models import initial_params
from vtmask.tokenizers import CONTROL_SYMBOLS
from vtmask.training.curves import read_metrics
from vtmask.training.optimizer import make_schedule

METEOR = {"METEOR"} if shutil.which("java") else set()
ROOT = Path(__file__).parents[1]
RECIPES = sorted(
    path.stem
    for path in (ROOT / "configs").glob("*.py")
    if path.stem not in ("__init__", "zeroshot", "videoclip_finetuning")
)
BERT = {
    "model.hidden_size": 768,
    "model.num_layers": 12,
    "model.num_heads": 12,
    "model.mlp_size": 3072,
    "model.dropout_rate": 0.1,
    "model.max_video_len": 32,
    "model.max_len": 96,
    "optim.lr": 5e-5,
    "optim.clip_norm": 2.0,
    "optim.b1": 0.9,
    "optim.b2": 0.98,
    "optim.eps": 1e-8,
    "optim.weight_decay": 0.0,
}
FINE_TUNING = BERT | {"optim.warmup_steps": 122, "init_from": ""}
PRE_TRAINING = BERT | {
    "optim.warmup_steps": 1000,
    "sampler.min_tokens": 8,
    "sampler.max_tokens": 64,
}
VLM_TASK = {
    "task.objective": "mtm",
    "task.masking.mm_prob": 0.5,
    "task.masking.mask_prob": 0.15,
    "sampler.name": "caption_windows",
}
VIDEOCLIP_TASK = {
    "model.num_video_layers": 6,
    "task.isolated_layers": None,
    "task.direction": "both",
    "sampler.name": "overlapped_clips",
    "sampler.clips_per_record": 16,
    "sampler.min_frames": 3,
    "sampler.max_frames": 32,
    "retrieval_augmented.enabled": True,
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "vlm": PRE_TRAINING | VLM_TASK | {"sampler.clips_per_record": 16},
    "vlm_howto100m": PRE_TRAINING
    | VLM_TASK
    | {
        "batch_size": 256,
        "num_steps": 2_062_500,  # 15 epochs of 1.1 million videos
        "data.name": "howto100m",
        "sampler.clips_per_record": 32,
    },
    "videoclip": PRE_TRAINING | VIDEOCLIP_TASK,
    "videoclip_howto100m": PRE_TRAINING
    | VIDEOCLIP_TASK
    | {
        "batch_size": 512,  # 32 videos
        "num_steps": 859_375,  # 25 epochs of 1.1 million videos
        "data.name": "howto100m",
    },
    "msrvtt": FINE_TUNING
    | {
        "batch_size": 256,
        "num_steps": 7_031,  # 10 epochs
        "data.name": "msrvtt/1k-a",
        "task.name": "retrieval",
        "task.isolated_layers": 12,
        "task.direction": "t2v",
        "sampler.name": "descriptions",
        "eval.split": "test",
        "eval.field": "descriptions",
    },
    "msrvtt_qa": FINE_TUNING
    | {
        "batch_size": 128,
        "num_steps": 5_476,  # 5 epochs
        "data.name": "msrvtt/multiple-choice",
        "task.name": "question_answering",
        "task.isolated_layers": 12,
        "task.num_answers": 5,
        "sampler.name": "descriptions",
        "eval.split": "test",
    },
    "youcook2": FINE_TUNING
    | {
        "batch_size": 128,
        "num_steps": 748,  # 10 epochs
        "data.name": "youcook2/howto100m-pickles",
        "task.name": "retrieval",
        "task.isolated_layers": 12,
        "task.direction": "t2v",
        "sampler.name": "timed_texts",
        "sampler.field": "clips",
        "eval.split": "validation",
        "eval.field": "clips",
    },
    "youcook2_captioning": FINE_TUNING
    | {
        "batch_size": 128,
        "num_steps": 807,  # 10 epochs
        "data.name": "youcook2/default",
        "task.name": "captioning",
        "task.num_beams": 5,
        "task.length_penalty": 1.0,
        "task.max_decode_length": 24,
        "sampler.name": "timed_texts",
        "sampler.field": "clips",
        "eval.split": "validation",
        "eval.field": "clips",
    },
    "crosstask": FINE_TUNING
    | {
        "batch_size": 1,  # videos
        "num_steps": 2_700,  # 5 epochs of 540 videos
        "data.name": "crosstask",
        "task.name": "step_localization",
        "task.isolated_layers": 12,
        "sampler.name": "step_windows",
        "sampler.stride": 16,
        "eval.split": "test",
        "eval.stride": 16,
    },
    "coin": FINE_TUNING
    | {
        "batch_size": 16,  # windows, about a video
        "num_steps": 72_240,  # 8 epochs of 9,030 videos
        "data.name": "coin",
        "task.name": "segmentation",
        "sampler.name": "labelled_windows",
        "sampler.stride": 8,
        "eval.split": "test",
        "eval.stride": 16,
    },
    "didemo": FINE_TUNING
    | {
        "data.name": "didemo",
        "task.name": "moment_retrieval",
        "task.isolated_layers": None,
        "sampler.name": "descriptions",
        "eval.split": "test",
    },
}


# Clips in an epoch of the published data sets.
EPOCH_SIZES = {
    "vlm_howto100m": 1_100_000 * 32,  # videos, clips a video
    "videoclip_howto100m": 1_100_000 * 16,
    "msrvtt": 9_000 * 20,  # videos, sentences a video
    "msrvtt_qa": 7_010 * 20,
    "youcook2": 9_586,  # sentences
    "youcook2_captioning": 10_337,
    "crosstask": 18 * 30,  # primary tasks, videos of each
    "coin": 9_030 * 16,  # videos, windows a video
    "didemo": 33_005,  # sentences
}


def resolved(config: ConfigDict, epoch_size: int) -> ConfigDict:
    batches: Any = SimpleNamespace(epoch_size=epoch_size)
    recipe.resolve_num_steps(config, batches)
    return config


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_has_the_published_settings(name: str) -> None:
    config = resolved(synthetic.recipe(name), EPOCH_SIZES.get(name, 0))
    actual = {}
    for field in PUBLISHED[name]:
        value: Any = config
        for part in field.split("."):
            value = value[part]
        actual[field] = value
    assert actual == PUBLISHED[name]


@pytest.mark.parametrize(
    "name", [n for n in PUBLISHED if PUBLISHED[n].items() >= FINE_TUNING.items()]
)
def test_the_learning_rate_is_constant_after_the_warm_up(name: str) -> None:
    config = resolved(synthetic.recipe(name), EPOCH_SIZES[name])
    schedule = make_schedule(config.optim, config.num_steps)
    rates = [float(schedule(step)) for step in (0, 60, 121, 122, config.num_steps - 1)]
    assert rates == pytest.approx([5e-5 / 122, 5e-5 * 61 / 122, 5e-5, 5e-5, 5e-5])


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_consistent(name: str) -> None:
    config = synthetic.recipe(name)
    tasks.create(config.task)
    settings = config.model.to_dict()
    model_config = models.CONFIGS[settings.pop("name")](**settings)
    settings = config.sampler.to_dict()
    sampler = samplers.create(settings.pop("name"), model_config, **settings)
    assert config.batch_size % sampler.clips_per_record == 0
    assert (config.task.get("isolated_layers") or 0) <= model_config.num_layers
    json.dumps(config.to_dict())  # a run writes its config
    if "eval" in config and "stride" in config.eval:
        assert config.eval.stride <= model_config.max_video_len


@pytest.mark.parametrize("name", RECIPES)
def test_derived_fields_follow_overrides(name: str) -> None:
    published = synthetic.recipe(name)
    config = synthetic.recipe(name, model__num_layers=24, model__max_video_len=40)
    if published.task.get("isolated_layers"):
        assert config.task.isolated_layers == 24
    for part in ("sampler", "eval"):
        stride = published.get(part, {}).get("stride")
        if stride:
            windows = published.model.max_video_len / stride
            assert config[part].stride == int(40 / windows)

    if "clips_per_record" in config.sampler:
        per_record = published.batch_size // published.sampler.clips_per_record
        config.sampler.clips_per_record = 7
        follows = name in ("coin", "videoclip_howto100m")
        assert config.batch_size == (7 * per_record if follows else published.batch_size)

    config = synthetic.recipe(name, batch_size=10)
    if config.num_steps is None:
        config.num_epochs = 2.5
        assert resolved(config, 1000).num_steps == 250
        assert config.num_epochs is None  # its steps are known
        assert resolved(synthetic.recipe(name, num_steps=3), 1000).num_steps == 3


def test_a_zero_shot_recipe_never_isolates_layers() -> None:
    config = zeroshot.get_config("demo_retrieval")
    assert config.task.isolated_layers is None and config.model.num_layers == 3
    config.model.num_layers = 4
    assert config.task.isolated_layers is None


def test_every_recipe_is_listed() -> None:
    bases = {"finetuning", "vlm_1b", "vlm_large"}
    unpublished = {
        *("activitynet", "activitynet_moments", "charades_sta", "msrvtt_captioning"),
        "qvhighlights",
    }
    unpublished |= {name for name in RECIPES if name.endswith("_corpus_moments")}
    demo = {name for name in RECIPES if name.startswith("demo")}
    assert set(RECIPES) - bases == set(PUBLISHED) | unpublished | demo


def write_msrvtt(folder: Path) -> None:
    msrvtt.write(folder)


def write_youcook2(folder: Path) -> None:
    (folder / "features").mkdir(parents=True)
    videos = {
        "a": youcook2.record("training", youcook2.CUT, youcook2.FRY),
        "b": youcook2.record("training", youcook2.FRY, youcook2.SERVE),
        "c": youcook2.record("validation", youcook2.CUT, youcook2.FRY),
    }
    youcook2.write(folder, videos)
    names = [[f"{video}_{i}" for video in videos_of for i in (0, 1)] for videos_of in ("ab", "c")]
    youcook2.write_pickles(folder, *([youcook2.clip(n, "cut") for n in few] for few in names))
    write_features(folder, *videos)


def write_crosstask(folder: Path) -> None:
    videos = [f"23521_{i}" for i in range(31)]  # 30 to train on, one to test
    crosstask.write(folder, videos, ["105222_v"])
    write_features(folder, "v", *map(str, range(31)))


def write_coin(folder: Path) -> None:
    folder.mkdir()
    coin.write(
        folder,
        a=coin.record("training", coin.step(1, 0, 3), coin.step(3, 5, 6.5)),
        b=coin.record("training", coin.step(2, 1, 9)),
        c=coin.record("testing", coin.step(2, 1, 4), coin.step(1, 7, 9)),
    )


def write_didemo(folder: Path) -> None:
    for split in ("train", "test"):
        didemo.write(folder, didemo.ITEMS, f"{split}_data.json")
    write_features(folder, "1@N0_2_ab", "3@N1_4_cd.", length=28)


def write_activitynet(folder: Path) -> None:
    for name in ("train", "val_1", "val_2"):
        activitynet.write(folder, name, v_a=activitynet.DANCE, v_b=activitynet.COOK)


def write_charades_sta(folder: Path) -> None:
    charades_sta.write(folder)


def write_qvhighlights(folder: Path) -> None:
    qvhighlights.write(folder, qvhighlights.QUERIES)
    write_features(folder, "a_0.0_150.0", "b_0.0_150.0", length=150)


def write_features(folder: Path, *names: str, length: int = 20) -> None:
    (folder / "features").mkdir(exist_ok=True)
    for number, name in enumerate(names):
        features = np.random.default_rng(number).standard_normal((length, 512))
        np.save(folder / f"features/{name}.npy", features.astype(np.float16))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a data folder to which tests add the data sets that they need."""
    return tmp_path_factory.mktemp("data")


def build(folder: Path, name: str) -> None:
    """Writes a data set's files as published, and builds it once with a vocabulary like BERT's."""
    data_set, _, config = name.partition("/")
    manual = folder / "manual" / name
    if manual.exists():
        return
    globals()[f"write_{data_set}"](manual)
    words = ["a", "car", "cut", "the", "onions", "dog", "stir", *"bcdefghijklmnopqrstuvwxyz"]
    (manual / "vocab.txt").write_text("\n".join([*CONTROL_SYMBOLS, *words]))
    module = importlib.import_module(f"data.{data_set}.{data_set}_dataset_builder")
    builder = module.Builder(**({"config": config} if config else {}), data_dir=folder)
    download = tfds.download.DownloadConfig(manual_dir=manual)
    builder.download_and_prepare(download_config=download)


TINY = {
    "batch_size": 2,
    "num_steps": 2,
    "log_every": 1,
    "eval__batch_size": 4,
    "model__hidden_size": 16,
    "model__num_layers": 1,
    "model__num_heads": 2,
    "model__mlp_size": 16,
    "model__dropout_rate": 0.0,
    "model__max_video_len": 6,
    "model__max_len": 48,
}


@pytest.mark.parametrize(
    ("name", "changes", "row", "columns"),
    [
        ("msrvtt", {}, "text to video", {"R@1", "R@5", "R@10", "MedR"}),
        ("msrvtt_qa", {}, "questions", {"accuracy"}),
        (
            "msrvtt_captioning",
            {"task__max_decode_length": 8, "task__num_beams": 2},
            "captions",
            {"BLEU-4", "ROUGE-L", "CIDEr"} | METEOR,
        ),
        ("youcook2", {}, "video to text", {"R@1", "R@5", "R@10", "MedR"}),
        (
            "youcook2_captioning",
            {"task__max_decode_length": 8, "task__num_beams": 2},
            "captions",
            {"BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr"} | METEOR,
        ),
        (
            "crosstask",
            {"batch_size": 1, "sampler__windows": 2, "sampler__stride": 4, "eval__stride": 4},
            "mean over tasks",
            {"recall"},
        ),
        (
            "coin",
            {"sampler__clips_per_record": 2, "sampler__stride": 4, "eval__stride": 4},
            "features",
            {"frame accuracy"},
        ),
        ("didemo", {"model__max_video_len": 30}, "sentences", {"rank@1", "rank@5", "mIoU"}),
        ("activitynet", {}, "text to video", {"R@1", "R@5", "R@10", "MedR"}),
        (
            "charades_sta",
            {"eval__stride": 4},
            "sentences",
            {"R@1, IoU 0.5", "R@1, IoU 0.7", "mAP", "mIoU"},
        ),
        ("didemo_corpus_moments", {"eval__stride": 4}, "IoU 0.5", {"R@1", "R@5", "R@10", "R@100"}),
    ],
)
def test_a_recipe_runs_from_published_files_to_a_report(
    built: Path, tmp_path: Path, name: str, changes: dict[str, Any], row: str, columns: set[str]
) -> None:
    config = synthetic.recipe(
        name,
        data__dir=str(built),
        **TINY | changes,
    )
    if config.task.get("isolated_layers") is not None:
        config.task.isolated_layers = 1
    build(built, config.data.name)
    train.main(config, tmp_path / "run")
    losses = [line["loss"] for line in read_metrics(tmp_path / "run/metrics.jsonl")]
    assert len(losses) == 2 and np.isfinite(losses).all()

    evaluate.main(config, str(tmp_path / "run/export"), tmp_path / "test")
    actual = json.loads((tmp_path / "test/metrics.json").read_text())
    assert set(actual["metrics"][row]) >= columns
    assert actual["data set"] == config.data.name and actual["training steps"] == 2
    for kind in ("metrics", "baselines"):
        values = [value for figures in actual[kind].values() for value in figures.values()]
        assert values and np.isfinite(values).all()
    predictions = (tmp_path / "test/predictions.jsonl").read_text().splitlines()
    assert predictions and all(map(json.loads, predictions))
    assert "The loss goes from" in (tmp_path / "test/report.html").read_text()


@pytest.mark.parametrize("name", [n for n in zeroshot.RECIPES if not n.startswith("demo_")])
def test_videoclip_does_a_task_zero_shot(built: Path, tmp_path: Path, name: str) -> None:
    config = zeroshot.get_config(name)
    build(built, config.data.name)
    config.data.dir = str(built)
    config.eval.batch_size = 4
    dataset = Dataset(config.data.name, config.eval.split, str(built))
    tiny = {field: value for field, value in TINY.items() if not field.startswith("eval")}
    longest = {"model__max_video_len": 30, "model__num_video_layers": 1}
    pretrained = synthetic.recipe("videoclip", **tiny | longest)
    module = recipe.make_model(pretrained, dataset)
    inputs = (dataset.tokenizer, dataset.feature_extractor, dataset.seconds_per_feature)
    model = Model(module, initial_params(module, 0), *inputs, pretrained.to_dict())
    export.save(tmp_path / "export", model)

    evaluate.main(config, str(tmp_path / "export"), tmp_path / "test")
    actual = json.loads((tmp_path / "test/metrics.json").read_text())
    values = [value for figures in actual["metrics"].values() for value in figures.values()]
    assert values and np.isfinite(values).all()
    assert actual["trained for"] == "retrieval" and "report.html" in os.listdir(tmp_path / "test")


def test_videoclip_is_fine_tuned(built: Path, tmp_path: Path) -> None:
    build(built, "msrvtt/1k-a")
    tiny = {field: value for field, value in TINY.items() if not field.startswith("eval")}
    config = videoclip_finetuning.get_config("msrvtt")
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in tiny.items()})
    config.data.dir, config.model.num_layers, config.model.num_video_layers = str(built), 2, 1
    train.main(config, tmp_path / "first")
    config.init_from = str(tmp_path / "first/export")
    train.main(config, tmp_path / "second")
    assert type(export.load(tmp_path / "second/export").module) is models.VideoCLIP
    evaluate.main(config, str(tmp_path / "second/export"), tmp_path / "test")
    assert "R@1" in (tmp_path / "test/metrics.json").read_text()


@pytest.mark.parametrize("name", videoclip_finetuning.RECIPES)
def test_fine_tuning_keeps_the_sizes_of_pre_training(name: str) -> None:
    config = videoclip_finetuning.get_config(name)
    start = synthetic.recipe(
        "demo_videoclip" if name.startswith("demo_") else "videoclip_howto100m"
    )
    sizes = (
        "name",
        "hidden_size",
        "num_layers",
        "num_video_layers",
        "mlp_size",
        "num_heads",
    )
    assert {size: config.model[size] for size in sizes} == {s: start.model[s] for s in sizes}
    assert config.task.isolated_layers is None


def test_videoclip_cannot_caption() -> None:
    model: Any = SimpleNamespace(module=models.VideoCLIP(models.VideoCLIPConfig()))
    nothing: Any = None
    with pytest.raises(UserError, match="is captioning, which VideoCLIP cannot do; use a VLM"):
        captioning.evaluate(model, nothing, nothing, nothing)


def test_a_vlm_without_a_head_cannot_caption() -> None:
    model: Any = SimpleNamespace(module=models.VLM(models.VLMConfig()), params={"words": {}})
    nothing: Any = None
    with pytest.raises(UserError, match="^the model has no prediction head, which writes captions"):
        captioning.evaluate(model, nothing, nothing, nothing)


@pytest.mark.parametrize("task", ["captioning", "segmentation", "pretrain"])
def test_videoclip_refuses_tasks_that_it_cannot_do(task: str) -> None:
    config = synthetic.recipe("videoclip", task=ConfigDict({"name": task}))
    dataset: Any = None
    with pytest.raises(UserError, match=f"config.task.name is {task}, which VideoCLIP cannot do"):
        recipe.make_model(config, dataset)
