"""Evaluations give the metrics of their predictions, which equal those of separate model calls."""

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import in_memory
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import synthetic
from in_memory import InMemory, texts
from ml_collections import ConfigDict

from vtmask import recipe, tasks
from vtmask.errors import UserError
from vtmask.evaluation import (
    caption_metrics,
    captioning,
    corpus_moment_retrieval,
    localization,
    metrics,
    moment_retrieval,
    moments,
    ordered_steps,
    question_answering,
    report,
    retrieval,
    segmentation,
    windows,
)
from vtmask.evaluation.base import Evaluation
from vtmask.export import Model
from vtmask.inputs import examples
from vtmask.inputs.dataset import Dataset
from vtmask.inputs.examples import Clip, Example
from vtmask.models import VLM
from vtmask.tasks import (
    Captioning,
    MomentRetrieval,
    QuestionAnswering,
    Retrieval,
    Segmentation,
    StepLocalization,
)
from vtmask.tasks.segmentation import TextLabels, classes_by_names

EVALUATIONS: dict[str, Callable[..., Evaluation]] = {
    "demo_retrieval": retrieval.evaluate,
    "demo_qa": question_answering.evaluate,
    "demo_localization": localization.evaluate,
    "demo_segmentation": segmentation.evaluate,
    "demo_moments": moment_retrieval.evaluate,
    "demo_corpus_moments": corpus_moment_retrieval.evaluate,
}


class Evaluated:
    """A small untrained model of a demo recipe, evaluated on demo/tiny's 8 validation videos.

    If the recipe has windows, they are shorter than the videos.
    """

    def __init__(self, name: str, demo_dir: Path):
        self.name = name
        self.config = synthetic.recipe(
            name,
            data__name="demo/tiny",
            data__dir=str(demo_dir),
            model__hidden_size=16,
            model__num_layers=1,
            model__num_heads=2,
            model__mlp_size=32,
            model__initializer_range=0.3,
        )
        if "isolated_layers" in self.config.task:
            self.config.task.isolated_layers = 1
        if "stride" in self.config.eval:
            self.config.update({"model": {"max_video_len": 8}, "eval": {"stride": 5}})
        self.task = tasks.create(self.config.task)
        self.dataset = Dataset("demo/tiny", "validation", str(demo_dir))
        self.records = [self.dataset[i] for i in range(self.dataset.num_records)]
        module = recipe.make_model(self.config, self.dataset)
        self.model = Model(
            module,
            in_memory.params(module),
            self.dataset.tokenizer,
            self.dataset.feature_extractor,
            self.dataset.seconds_per_feature,
            self.config.to_dict(),
            self.dataset.class_names if module.config.num_classes else (),
        )
        self.result = self.evaluate(3)

    def evaluate(self, batch_size: int) -> Evaluation:
        settings = ConfigDict({**self.config.eval.to_dict(), "batch_size": batch_size})
        return EVALUATIONS[self.name](self.model, self.task, self.dataset, settings)

    def video(self, method: Callable[..., Any], record: Any) -> np.ndarray:
        """Returns a method's output for the video from its start."""
        return alone(self.model, method, clip(self.model, record))

    def windows(self, method: Callable[..., Any], record: Any) -> np.ndarray:
        return merged(self.model, method, record, self.config.eval.stride)

    def texts(self, method: Callable[..., Any], field: Any) -> np.ndarray:
        return text_embeddings(self.model, method, field)


def alone(model: Model, method: Callable[..., Any], example: Example) -> np.ndarray:
    """Returns a method's output for one example in a separate call."""
    batch = {name: x[None] for name, x in example.items()}
    return np.asarray(compiled(method, model.module)({"params": model.params}, **batch))[0]


@functools.cache
def compiled(method: Callable[..., Any], module: VLM) -> Callable[..., Any]:
    return jax.jit(nn.apply(method, module))


def clip(model: Model, record: Any, start: int = 0, stop: int | None = None) -> Example:
    stop = len(record["features"]) if stop is None else stop
    return examples.video(model.module.config, record["features"], Clip(start, stop))


def merged(model: Model, method: Callable[..., Any], record: Any, stride: int) -> np.ndarray:
    """Averages a method's output for each frame over the windows that contain it."""
    length, size = len(record["features"]), model.module.config.max_video_len
    frames: list[list[np.ndarray]] = [[] for _ in range(length)]
    for start in windows.starts(length, size, stride).tolist():
        values = alone(model, method, clip(model, record, start, min(start + size, length)))
        for frame in range(start, min(start + size, length)):
            frames[frame].append(values[frame - start])
    return np.stack([np.mean(values, axis=0) for values in frames])


def text_embeddings(model: Model, method: Callable[..., Any], field: Any) -> np.ndarray:
    inputs = [examples.text(model.module.config, tokens) for tokens in examples.tokens(field)]
    return np.stack([alone(model, method, text) for text in inputs])


@pytest.fixture(scope="module", params=EVALUATIONS)
def evaluated(request: pytest.FixtureRequest, demo_dir: Path) -> Evaluated:
    return Evaluated(request.param, demo_dir)


def test_an_evaluation_does_not_depend_on_the_batch_size(evaluated: Evaluated) -> None:
    """There is one prediction per example, and predictions survive JSON."""
    other = evaluated.evaluate(50)
    assert evaluated.result.metrics == other.metrics
    assert evaluated.result.intervals == other.intervals
    assert evaluated.result.baselines == other.baselines
    read = json.loads(json.dumps(evaluated.result.predictions))
    assert read == list(evaluated.result.predictions)
    expected = {
        "demo_retrieval": 2 * 8,
        "demo_moments": sum(len(r["moments"]["text"]) for r in evaluated.records),
        "demo_corpus_moments": len(
            {text for r in evaluated.records for text in r["steps"]["text"]}
        ),
    }
    assert len(read) == expected.get(evaluated.name, 8)
    if evaluated.name == "demo_corpus_moments":
        read = [right for prediction in read for right in prediction["right"]]
    key = "right" if evaluated.name == "demo_retrieval" else "video_id"
    assert {str(p[key]) for p in read} >= {r["video_id"] for r in evaluated.records}
    json.dumps([evaluated.result.metrics, evaluated.result.intervals, evaluated.result.baselines])
    for row, column in evaluated.result.headline:
        low, high = evaluated.result.intervals[row][column]
        assert low <= evaluated.result.metrics[row][column] <= high


def test_the_report_shows_the_predictions(evaluated: Evaluated, tmp_path: Path) -> None:
    actual = evaluated.result
    groups = [dataclasses.replace(group, cards=group.cards[:1]) for group in actual.groups]
    report.write(
        tmp_path / "report.html",
        report.Report(
            title="demo",
            metrics=actual.metrics,
            intervals=actual.intervals,
            baselines=actual.baselines,
            explanation=actual.explanation,
            headline=actual.headline,
            facts={},
            figures=actual.figures,
            groups=groups,
        ),
    )
    page = (tmp_path / "report.html").read_text()
    row, column = actual.headline[0]
    assert report.number(column, actual.metrics[row][column]) in page
    assert [group.heading.split()[0] for group in groups] == ["Best", "Worst"]
    assert all(group.heading in page for group in groups)
    assert "No frames are shown" not in page


@pytest.mark.parametrize("evaluated", ["demo_retrieval"], indirect=True)
def test_retrieval_ranks_by_all_scores(evaluated: Evaluated) -> None:
    encoding = evaluated.task.encoding
    videos = np.stack([evaluated.video(encoding.embed_video, r) for r in evaluated.records])
    sentences = [evaluated.texts(encoding.embed_text, r["descriptions"]) for r in evaluated.records]
    scores = np.concatenate(sentences) @ videos.T
    assert evaluated.result.metrics == {
        "text to video": metrics.retrieval(scores),
        "video to text": metrics.retrieval(scores.T),
    }
    assert evaluated.result.baselines == {"chance": metrics.chance(8)}
    ranks = np.concatenate([metrics.ranks(scores), metrics.ranks(scores.T)])
    assert [p["rank"] for p in evaluated.result.predictions] == ranks.tolist()
    for prediction, row in zip(evaluated.result.predictions, scores, strict=False):
        names = [evaluated.records[i]["video_id"] for i in np.argsort(-row)]
        assert [c["id"] for c in prediction["retrieved"]] == names
        actual = [c["score"] for c in prediction["retrieved"]]
        np.testing.assert_allclose(actual, -np.sort(-row), rtol=1e-4)


@pytest.mark.parametrize("evaluated", ["demo_qa"], indirect=True)
def test_questions_are_answered_by_the_highest_score(evaluated: Evaluated) -> None:
    retrieval_ = Retrieval(1)
    right = []
    for record, prediction in zip(evaluated.records, evaluated.result.predictions, strict=True):
        answers = evaluated.texts(retrieval_.encoding.embed_text, record["choices"])
        scores = answers @ evaluated.video(retrieval_.encoding.embed_video, record)
        np.testing.assert_allclose(prediction["scores"], scores, rtol=1e-3, atol=1e-3)
        assert prediction["answers"] == record["choices"]["text"]
        assert prediction["correct"] == record["choices"]["correct"]
        assert prediction["predicted"] == scores.argmax()
        right.append(scores.argmax() == record["choices"]["correct"])
    assert evaluated.result.metrics == {"questions": {"accuracy": np.mean(right)}}
    assert evaluated.result.baselines == {"chance": {"accuracy": 0.2}}


@pytest.mark.parametrize("evaluated", ["demo_segmentation"], indirect=True)
def test_features_have_the_class_of_their_merged_scores(evaluated: Evaluated) -> None:
    right: list[bool] = []
    for record, prediction in zip(evaluated.records, evaluated.result.predictions, strict=True):
        classes = evaluated.windows(evaluated.task.scores, record).argmax(axis=1)
        assert prediction["predicted"] == classes.tolist()
        assert prediction["true"] == record["labels"].tolist()
        hits = (classes == record["labels"]).tolist()
        assert prediction["accuracy"] == pytest.approx(np.mean(hits))
        right += hits
    actual = evaluated.result.metrics["features"]["frame accuracy"]
    assert actual == pytest.approx(np.mean(right))
    labels = np.concatenate([record["labels"] for record in evaluated.records])
    most = int(np.bincount(labels).argmax())
    assert evaluated.result.baselines == {
        f"always “{evaluated.dataset.class_names[most]}”": {
            "frame accuracy": pytest.approx((labels == most).mean())
        }
    }


@pytest.mark.parametrize("evaluated", ["demo_localization"], indirect=True)
def test_steps_are_assigned_in_order_by_their_scores(evaluated: Evaluated) -> None:
    assigned, shown = [], []
    for record, prediction in zip(evaluated.records, evaluated.result.predictions, strict=True):
        steps = evaluated.texts(evaluated.task.embed_steps, record["step_texts"])
        frames = evaluated.windows(evaluated.task.encoding.encode_frames, record)
        seconds = ordered_steps.assign(frames @ steps.T)
        assert prediction["predicted"] == seconds.tolist()
        exists = np.zeros((len(record["features"]), len(steps)), bool)
        done = record["steps"]
        for start, end, label in zip(done["start"], done["end"], done["label"], strict=True):
            second = np.arange(len(exists))
            exists[:, label - 1] |= (second < end) & (start < second + 1)
        assigned.append(seconds)
        shown.append(exists)
        hits = exists[seconds, np.arange(len(seconds))][exists.any(axis=0)]
        assert prediction["recall"] == pytest.approx(hits.mean())
    recall = metrics.step_recall(["all"] * 8, assigned, shown)["recall"]
    assert evaluated.result.metrics == {"mean over tasks": {"recall": recall}}


@pytest.mark.parametrize("evaluated", ["demo_moments"], indirect=True)
def test_moments_are_ranked_by_their_frames(evaluated: Evaluated) -> None:
    predictions = iter(evaluated.result.predictions)
    ranked, times = [], []
    for record in evaluated.records:
        frames = evaluated.video(evaluated.task.encoding.encode_frames, record)
        frames = np.pad(frames, ((0, 30 - len(frames)), (0, 0)))[None]
        mask = np.arange(30)[None] < len(record["features"])
        field = record["moments"]
        sentences = evaluated.texts(evaluated.task.encoding.embed_text, field)
        for text, sentence, time in zip(field["text"], sentences, field["times"], strict=True):
            order = moments.rank(frames, sentence[None], mask, np.array([field["num_segments"]]))[0]
            prediction = next(predictions)
            assert prediction["text"] == text
            assert prediction["times"] == [time.tolist()]
            exists = [m for m in order.tolist() if m[1] < field["num_segments"]]
            assert prediction["ranked"] == exists
            ranked.append(order)
            times.append(time[None])
    assert next(predictions, None) is None
    assert evaluated.result.metrics == {"sentences": metrics.moments(np.stack(ranked), times)}
    chance = evaluated.result.baselines["chance"]
    assert 0 < chance["rank@1"] < chance["rank@5"] < 1


MODEL = in_memory.model()
SETTINGS = ConfigDict({"batch_size": 2, "stride": 4, "field": "descriptions"})


def several_texts() -> Any:
    """Makes three videos with one, three and two texts, two of which are equal."""
    described = (in_memory.TEXTS[:1], in_memory.TEXTS[1:4], (*in_memory.TEXTS[4:], "lift a star"))
    return InMemory(
        [in_memory.record(i, descriptions=texts(*lines)) for i, lines in enumerate(described)]
    )


def test_every_text_is_a_query_and_the_best_text_of_a_video_is_its_answer() -> None:
    dataset, task = several_texts(), Retrieval(None)
    actual = retrieval.evaluate(MODEL, task, dataset, SETTINGS)
    embed_video = task.encoding.embed_video
    videos = np.stack([alone(MODEL, embed_video, clip(MODEL, r)) for r in dataset.records])
    sentences = [
        text_embeddings(MODEL, task.encoding.embed_text, r["descriptions"]) for r in dataset.records
    ]
    owner = np.repeat([0, 1, 2], [1, 3, 2])
    scores = np.concatenate(sentences) @ videos.T
    by_text = [
        1 + (row > row[index]).sum() + ((row == row[index]).sum() - 1) / 2
        for row, index in zip(scores, owner, strict=True)
    ]
    by_video = []
    for video in range(3):
        best = scores[owner == video, video].max()
        others = scores[owner != video, video]
        by_video.append(1 + (others > best).sum() + np.isclose(others, best).sum() / 2)
    assert [p["rank"] for p in actual.predictions] == pytest.approx([*by_text, *by_video])
    assert actual.metrics["text to video"] == metrics.retrieval_of_ranks(np.array(by_text))
    assert actual.metrics["video to text"] == metrics.retrieval_of_ranks(np.array(by_video))
    assert [p["right"] for p in actual.predictions[:6]] == ["v0", "v1", "v1", "v1", "v2", "v2"]
    assert [p["right"] for p in actual.predictions[6:]] == [
        r["descriptions"]["text"] for r in dataset.records
    ]
    assert actual.predictions[7]["query"] == "v1"
    assert json.loads(json.dumps(actual.predictions)) == actual.predictions


def test_a_text_of_two_videos_ties_with_itself() -> None:
    same = [in_memory.record(i, descriptions=texts("lift a star")) for i in range(2)]
    same[1]["features"] = same[0]["features"]
    dataset: Any = InMemory(same)
    actual = retrieval.evaluate(MODEL, Retrieval(None), dataset, SETTINGS)
    assert [p["rank"] for p in actual.predictions] == [1.5] * 4


def test_timed_texts_are_matched_with_their_part_of_the_video() -> None:
    dataset, task = in_memory.dataset(2), Retrieval(None)
    settings = ConfigDict({"batch_size": 3, "field": "clips"})
    actual = retrieval.evaluate(MODEL, task, dataset, settings)
    parts = [(0, 4), (4, 8)]
    videos = np.stack(
        [
            alone(MODEL, task.encoding.embed_video, clip(MODEL, r, *part))
            for r in dataset.records
            for part in parts
        ]
    )
    embed_text = task.encoding.embed_text
    sentences = [text_embeddings(MODEL, embed_text, r["clips"]) for r in dataset.records]
    scores = np.concatenate(sentences) @ videos.T
    assert actual.metrics["text to video"] == metrics.retrieval(scores)
    names = ["v0 0–4 s", "v0 4.5–7.25 s", "v1 0–4 s", "v1 4.5–7.25 s"]
    assert [p["right"] for p in actual.predictions[:4]] == names
    assert [p["query"] for p in actual.predictions[4:]] == names


def test_one_video_with_one_text_is_ranked_first() -> None:
    actual = retrieval.evaluate(MODEL, Retrieval(None), in_memory.dataset(1), SETTINGS)
    assert actual.metrics["text to video"] == {"R@1": 1, "R@5": 1, "R@10": 1, "MedR": 1}


def test_segmentation_without_a_classifier_uses_class_names() -> None:
    dataset, labels = in_memory.dataset(), TextLabels()
    actual = segmentation.evaluate(MODEL, Segmentation(), dataset, SETTINGS)
    names = text_embeddings(MODEL, labels.encoding.embed_text, texts(*in_memory.CLASSES[1:]))

    def scores(module: VLM, video: jax.Array, video_mask: jax.Array) -> jax.Array:
        return labels.scores(module, video, video_mask, jnp.asarray(names))

    for record, prediction in zip(dataset.records, actual.predictions, strict=True):
        of_names = merged(MODEL, scores, record, 4)
        expected = classes_by_names(*map(jnp.asarray, (of_names, names)))
        assert prediction["predicted"] == expected.tolist()
        assert prediction["best_name"] == [1 + i for i in of_names.argmax(axis=1)]
        right = np.equal(prediction["best_name"], record["labels"])
        assert prediction["accuracy"] == right.mean()
    right = [np.equal(p["best_name"], p["true"]).tolist() for p in actual.predictions]
    assert actual.metrics["best name"]["frame accuracy"] == np.mean(sum(right, []))
    assert len(actual.figures) == 2


def test_classes_are_matched_by_name() -> None:
    """A class that the data set lacks is never predicted."""
    known = ("spin", "background", "jump", "lift", "slide")
    model, task, dataset = in_memory.model(known), Segmentation(), in_memory.dataset()
    actual = segmentation.evaluate(model, task, dataset, SETTINGS)
    for record, prediction in zip(dataset.records, actual.predictions, strict=True):
        scores = merged(model, task.scores, record, 4)
        scores[:, known.index("jump")] = -np.inf
        names = [known[i] for i in scores.argmax(axis=1)]
        assert [dataset.class_names[i] for i in prediction["predicted"]] == names


def test_a_class_that_was_not_in_training_is_refused() -> None:
    model = in_memory.model(("background", "slide", "spin"))
    problem = "^data/metadata.json: 1 of its classes were not in the model's training, .*'lift'"
    with pytest.raises(UserError, match=problem):
        segmentation.evaluate(model, Segmentation(), in_memory.dataset(), SETTINGS)


def changed(index: int = 1, **fields: Any) -> InMemory:
    """Returns a data set in which one video has changed fields."""
    dataset = in_memory.dataset()
    dataset.records[index] |= fields
    return dataset


SIX = texts(*in_memory.TEXTS, "six") | {"correct": np.int32(5)}
UNDONE = {name: value[:0] for name, value in in_memory.record(0)["steps"].items()}
NO_STEPS = InMemory([in_memory.record(i, steps=UNDONE) for i in range(2)])
NO_FIELD = InMemory([{"video_id": "v", "video": "", "features": np.ones((3, 4), np.float16)}])


@pytest.mark.parametrize(
    ("evaluate", "task", "dataset", "problem"),
    [
        (
            retrieval.evaluate,
            Retrieval(None),
            changed(descriptions=texts()),
            "data: video v1: field descriptions is empty; retrieval needs one",
        ),
        (
            question_answering.evaluate,
            QuestionAnswering(None),
            changed(choices=SIX),
            "data: video v1: field choices has 6 answers, expected config.task.num_answers = 5",
        ),
        (
            question_answering.evaluate,
            QuestionAnswering(None),
            changed(choices=texts() | {"correct": np.int32(-1)}),
            "data: video v1: field choices has no question; evaluate a split that has",
        ),
        (
            localization.evaluate,
            StepLocalization(None),
            changed(step_texts=texts()),
            "data: video v1: field step_texts is empty, expected the steps of the video's task",
        ),
        (
            localization.evaluate,
            StepLocalization(None),
            NO_STEPS,
            "data: no video of test shows a step of its task",
        ),
        (
            segmentation.evaluate,
            Segmentation(),
            in_memory.dataset(class_names=()),
            "data/metadata.json: names no class but the background; segmentation needs",
        ),
        (
            moment_retrieval.evaluate,
            MomentRetrieval(),
            changed(moments=texts()),
            "data: video v1: field moments is empty; moment retrieval needs one",
        ),
        (
            moment_retrieval.evaluate,
            MomentRetrieval(),
            in_memory.dataset(seconds_per_feature=0.5),
            "data: features are of 0.5 s, expected 1 s, as moments are segments of 5 s",
        ),
        (
            moment_retrieval.evaluate,
            MomentRetrieval(),
            changed(features=np.ones((40, 4), np.float16)),
            "data: its moments are in the first 30 s of a video, but the model sees only 6 s (max",
        ),
        *[
            (evaluate, task, NO_FIELD, f"data: data set has no field '{field}'; it does not fit")
            for evaluate, task, field in (
                (retrieval.evaluate, Retrieval(None), "descriptions"),
                (question_answering.evaluate, QuestionAnswering(None), "choices"),
                (localization.evaluate, StepLocalization(None), "steps"),
                (moment_retrieval.evaluate, MomentRetrieval(), "moments"),
            )
        ],
    ],
)
def test_a_data_set_that_does_not_fit_is_refused(
    evaluate: Callable[..., Evaluation], task: Any, dataset: InMemory, problem: str
) -> None:
    settings = SETTINGS.copy_and_resolve_references()
    settings.field = "choices" if isinstance(task, QuestionAnswering) else "descriptions"
    with pytest.raises(UserError) as error:
        evaluate(MODEL, task, dataset, settings)
    assert str(error.value).startswith(problem) and "\n" not in str(error.value)


@pytest.fixture
def without_meteor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saves the ten seconds in which Java reads its paraphrases."""
    monkeypatch.setattr(caption_metrics, "_meteor", lambda *_: (None, ""))


@pytest.mark.usefixtures("without_meteor")
def test_all_descriptions_of_a_video_are_references_of_its_caption() -> None:
    described = ["slide the red ball", "spin the blue box"]
    videos = [
        in_memory.record(0, 9, descriptions=texts(*described)),
        in_memory.record(1, 10, descriptions=texts()),
        in_memory.record(2, 11, descriptions=texts("lift a star")),
    ]
    dataset: Any = InMemory(videos, seconds_per_feature=2.0)
    settings = ConfigDict({"batch_size": 2, "field": "descriptions", "sampled": False})
    task = Captioning(num_beams=1, max_decode_length=6)
    actual = captioning.evaluate(in_memory.model(), task, dataset, settings)
    places = [(line["video_id"], line["start"], line["end"]) for line in actual.predictions]
    assert places == [("v0", 0, 18), ("v2", 0, 22)]
    assert [line["references"] for line in actual.predictions] == [described, ["lift a star"]]


@pytest.mark.usefixtures("without_meteor")
def test_a_timed_text_is_the_reference_of_its_clip() -> None:
    settings = ConfigDict({"batch_size": 2, "field": "clips", "sampled": False})
    task = Captioning(num_beams=1, max_decode_length=6)
    actual = captioning.evaluate(in_memory.model(), task, in_memory.dataset(1), settings)
    places = [(line["start"], line["end"], line["references"]) for line in actual.predictions]
    assert places == [(0, 4, ["slide the red ball"]), (4.5, 7.25, ["spin the blue box"])]
