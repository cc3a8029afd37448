"""The numbers agree with the published implementation's within float32 rounding.

`pytest tests/parity_test.py --golden-dir=FULL_DIR` also compares the weights, all gradients, all
hidden states and small parameters after training.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import flax.linen as nn
import golden
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tensorflow as tf
from ml_collections import ConfigDict

from vtmask import attention, convert, export, losses
from vtmask.convert import Options
from vtmask.evaluation import metrics, moments, ordered_steps, windows
from vtmask.export import Model
from vtmask.files import pytorch
from vtmask.inputs import cutting
from vtmask.models import VLM, AnyModel, VideoCLIP, VideoCLIPConfig, VLMConfig
from vtmask.models.s3d import S3D, Words
from vtmask.tasks import captioning
from vtmask.tasks.captioning import Captioning
from vtmask.tasks.localization import StepLocalization
from vtmask.tasks.pretrain import Pretrain
from vtmask.tasks.retrieval import Retrieval
from vtmask.tasks.segmentation import Segmentation
from vtmask.training.optimizer import make_optimizer, make_schedule

RTOL = 1e-4


def assert_close(actual: Any, expected: Any, name: str = "") -> None:
    """Checks agreement within 1e-4 of the array's largest value."""
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, rtol=RTOL, atol=RTOL * scale, err_msg=name)


def test_generation_masks(golden_dir: Path) -> None:
    case = np.load(golden_dir / "attention_masks.npz")
    masks = jnp.asarray(case["vmasks"]), jnp.asarray(case["cmasks"][:, 2:])
    np.testing.assert_array_equal(attention.text_generation(*masks)[:, 0], case["textgen"])
    np.testing.assert_array_equal(attention.video_generation(*masks)[:, 0], case["videogen"])


def test_hidden_states(golden_dir: Path) -> None:
    case = np.load(golden_dir / "vlm_pretrain.npz")
    compare_hidden_states(case, *golden.vlm(case))


def compare_hidden_states(case: Any, model: VLM, params: Any) -> None:
    batch = golden.batch(case)
    masked = golden.masked(case, case["input_caps"])

    def hidden_states(model: VLM) -> list[jax.Array]:
        video = jnp.where(masked.video_masked[..., None], 0.0, batch["video"])
        embedded = model.embed(model.video_tokens(video), masked.text)
        mask = attention.padding(batch["video_mask"], batch["text_mask"])
        layers = range(model.config.num_layers + 1)
        return [model.encode(embedded, mask, num_layers=i) for i in layers]

    states = nn.apply(hidden_states, model)({"params": params})
    expected = case["hidden_states"]
    for actual, expected_states in zip(states[-len(expected) :], expected, strict=True):
        assert_close(actual, expected_states)


@pytest.mark.parametrize("objective", ["mtm", "mfm_mlm"])
def test_pretraining_logits_loss_and_gradients(golden_dir: Path, objective: Any) -> None:
    case = np.load(golden_dir / "vlm_pretrain.npz")
    name = objective.replace("_", "")
    task = Pretrain(objective=objective)
    model, params = golden.vlm(case)
    if objective == "mfm_mlm":
        params["decoder_bias"] = case["mfmmlm_decoder_bias"]
    batch = golden.batch(case)
    masked = golden.masked(case, case["input_caps"])

    def logits(model: VLM) -> tuple[np.ndarray, np.ndarray]:
        """Returns logits with the rows and columns of the golden cases."""
        scored = task.score(model, batch, masked, deterministic=True)
        group = jax.tree.map(lambda x: x[0], scored)
        video, text = group.hidden[group.is_frame], group.hidden[group.is_word]
        positive = (video * group.frames[group.frame[group.is_frame]]).sum(axis=1, keepdims=True)
        negatives = group.frames[group.negative]
        rows = [positive, losses.scores(video, negatives)]
        columns = [losses.scores(text, model.vocabulary())]
        if objective == "mtm":
            rows.append(losses.scores(video, model.vocabulary()))
            columns.append(losses.scores(text, negatives))
        else:
            columns[0] += model.vocabulary_bias()
        return np.concatenate(rows, axis=1), np.concatenate(columns, axis=1)

    for actual_logits, kind in zip(
        nn.apply(logits, model)({"params": params}), ("video", "text"), strict=True
    ):
        assert_close(actual_logits, case[f"{name}_{kind}_logits"])

    def loss_of(params: Any) -> jax.Array:
        loss = nn.apply(task.masked_loss, model)
        return loss({"params": params}, batch, masked, True)[0]

    loss, grads = jax.jit(jax.value_and_grad(loss_of))(params)
    assert_close(loss, case[f"{name}_loss"])
    norms = {k: case[k] for k in case.files if k.startswith(f"{name}_gradnorm/")}
    atol = 1e-6 * max(norms.values())  # gradients of key biases are zero except for rounding
    compared = 0
    for key in case.files:
        kind, _, parameter = key.partition("/")
        grad = golden.get(grads, parameter) if kind.startswith(f"{name}_grad") else None
        if grad is not None:
            actual = np.linalg.norm(grad) if kind.endswith("norm") else grad
            np.testing.assert_allclose(actual, case[key], rtol=1e-3, atol=atol, err_msg=key)
            compared += 1
    assert compared >= len(norms) - 4  # all but the parameters that feed nothing


def test_training_trajectory(golden_dir: Path) -> None:
    case = np.load(golden_dir / "vlm_trajectory.npz")
    model, params = golden.vlm(np.load(golden_dir / "vlm_pretrain.npz"))
    lrs = case["lrs"]
    optim = ConfigDict(
        {
            "lr": float(lrs.max()),
            "warmup_steps": int(lrs.argmax()) + 1,
            "power": 0.0,
            "clip_norm": 2.0,
            "b1": 0.9,
            "b2": 0.98,
            "eps": 1e-8,
            "weight_decay": 0.0,
        }
    )
    schedule = make_schedule(optim, len(lrs))
    optimizer = make_optimizer(optim, schedule)
    np.testing.assert_allclose([schedule(i) for i in range(len(lrs))], lrs, rtol=1e-6)
    opt_state = optimizer.init(params)

    @jax.jit
    def step(params: Any, opt_state: Any, batch: Any, masked: Any) -> Any:
        def loss_of(params: Any) -> Any:
            loss = nn.apply(Pretrain().masked_loss, model)
            return loss({"params": params}, batch, masked, True)[0]

        loss, grads = jax.value_and_grad(loss_of)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss, optax.tree.norm(grads)

    for i in range(len(lrs)):
        prefix = f"step{i}/"
        batch = golden.batch(case, prefix)
        masked = golden.masked(case, case[prefix + "caps"], prefix)
        labels = jnp.asarray(case[prefix + "text_label"][:, 2:], jnp.int32)
        batch["text"] = jnp.where(masked.text_masked, labels, batch["text"])
        params, opt_state, loss, norm = step(params, opt_state, batch, masked)
        assert_close(loss, case["losses"][i], f"loss of step {i}")
        assert_close(norm, case["grad_norms"][i], f"gradient norm of step {i}")

    for key in case.files:
        kind, _, parameter = key.partition("/")
        value = golden.get(params, parameter) if kind in ("final", "finalnorm") else None
        if value is not None and not parameter.endswith("key.bias"):
            assert_close(np.linalg.norm(value) if kind == "finalnorm" else value, case[key], key)


def test_joint_retrieval(golden_dir: Path) -> None:
    case = np.load(golden_dir / "vlm_joint.npz")
    model, params = golden.vlm(case, kind="joint")
    batch = golden.batch(case)
    cases = {key.split("_")[0] for key in case.files if key.startswith("iso")}
    assert cases
    for name in cases:
        num_isolated = int(name.removeprefix("iso"))
        masks = attention.isolated_layers(
            batch["video_mask"], batch["text_mask"], num_isolated, model.config.num_layers
        )
        np.testing.assert_array_equal(masks, case[f"{name}_train/attention_mask"])

        task = Retrieval(num_isolated)
        train = nn.apply(task.encoding.embed_pairs, model)({"params": params}, batch, True)
        evaluation = embed_separately(task, model, params, batch)
        for mode, (video, text) in {"train": train, "eval": evaluation}.items():
            prefix = f"{name}_{mode}/"
            assert_close(video, case[prefix + "pooled_video"])
            assert_close(text, case[prefix + "pooled_text"])
            assert_close(losses.contrastive(text, video), case[prefix + "t2v_loss"])
            assert_close(losses.contrastive(video, text), case[prefix + "v2t_loss"])


def embed_separately(task: Retrieval, model: AnyModel, params: Any, batch: Any) -> tuple[Any, Any]:
    """Pools video and text in separate calls."""
    variables = {"params": params}
    return (
        nn.apply(task.encoding.embed_video, model)(variables, batch["video"], batch["video_mask"]),
        nn.apply(task.encoding.embed_text, model)(variables, batch["text"], batch["text_mask"]),
    )


def test_share(golden_dir: Path) -> None:
    case = np.load(golden_dir / "share.npz")
    model, params = golden.vlm(case, kind="share")
    video, text = embed_separately(Retrieval(None), model, params, golden.batch(case))
    assert_close(video, case["pooled_video"])
    assert_close(text, case["pooled_text"])


def test_videoclip(golden_dir: Path) -> None:
    case = np.load(golden_dir / "videoclip.npz")
    model, params = golden.videoclip(case)
    inputs = case if "caps" in case.files else np.load(golden_dir / "vlm_joint.npz")
    compare_videoclip(case, model, params, golden.batch(inputs))


def compare_videoclip(case: Any, model: VideoCLIP, params: Any, batch: Any) -> None:
    """Compares hidden and pooled states, the loss and its gradients with the numbers in `case`."""
    task = Retrieval(None, "both")
    hidden_video, hidden_text = jax.jit(model.apply)({"params": params}, batch)
    rows = len(case["hidden_video"])  # the compact set has some
    assert_close(hidden_video[:rows], case["hidden_video"])
    assert_close(hidden_text[:rows], case["hidden_text"])
    video, text = embed_separately(task, model, params, batch)
    assert_close(video, case["pooled_video"])
    assert_close(text, case["pooled_text"])

    calm = VideoCLIP(dataclasses.replace(model.config, dropout_rate=0.0))

    def loss_of(params: Any) -> jax.Array:
        return nn.apply(task.loss, calm)({"params": params}, batch, jax.random.key(0))[0]

    loss, grads = jax.jit(jax.value_and_grad(loss_of))(params)
    assert_close(loss, case["loss"])
    norms = {
        key.removeprefix("gradnorm/"): case[key]
        for key in case.files
        if key.startswith("gradnorm/")
    }
    assert norms.keys() == golden.published_shapes(golden.meta(case), "videoclip").keys()
    atol = 1e-6 * max(norms.values())
    for name, norm in norms.items():
        actual = np.linalg.norm(golden.get(grads, name))
        np.testing.assert_allclose(actual, norm, rtol=1e-3, atol=atol, err_msg=name)


def test_videoclip_weights_from_the_rule_equal_those_in_the_file(golden_dir: Path) -> None:
    """Therefore the compact set, which lacks the weights, checks the same model."""
    case = np.load(golden_dir / "videoclip.npz")
    inside = {key.removeprefix("param/"): case[key] for key in case.files if "param/" in key}
    if not inside:
        pytest.skip("the full set has weights")
    facts = golden.meta(case)
    for name, shape in golden.published_shapes(facts, "videoclip").items():
        np.testing.assert_array_equal(
            golden.weight("golden-a/videoclip", name, shape), inside[name]
        )


@pytest.fixture
def vocab(tmp_path: Path) -> Path:
    """Writes as many pieces as golden models have words, with BERT's control symbols in place."""
    pieces = [f"piece{i}" for i in range(600)]
    pieces[0], pieces[100] = "[PAD]", "[UNK]"
    pieces[101:104] = "[CLS]", "[SEP]", "[MASK]"
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(pieces) + "\n")
    return path


def converted(golden_dir: Path, tmp_path: Path, vocab: Path, name: str) -> Model:
    source = golden_dir / f"{name}_checkpoint.pt"
    if not source.exists():
        pytest.skip("the full set has checkpoints")
    convert.convert(source, tmp_path / name, Options(vocab=vocab, num_heads=4))
    return export.load(tmp_path / name)


def test_a_converted_vlm_has_the_published_numbers(
    golden_dir: Path, tmp_path: Path, vocab: Path
) -> None:
    model = converted(golden_dir, tmp_path, vocab, "vlm")
    case = np.load(golden_dir / "vlm_pretrain.npz")
    assert model.module == VLM(VLMConfig(**golden.model_config(case)))
    compare_hidden_states(case, model.module, model.params)
    loss = nn.apply(Pretrain().masked_loss, model.module)
    masked = golden.masked(case, case["input_caps"])
    actual = loss({"params": model.params}, golden.batch(case), masked, True)[0]
    assert_close(actual, case["mtm_loss"])


def test_a_converted_videoclip_has_the_published_numbers(
    golden_dir: Path, tmp_path: Path, vocab: Path
) -> None:
    model = converted(golden_dir, tmp_path, vocab, "videoclip")
    case = np.load(golden_dir / "videoclip.npz")
    assert isinstance(model.module, VideoCLIP)
    assert model.module == VideoCLIP(
        VideoCLIPConfig(**golden.model_config(case), num_video_layers=1)
    )
    compare_videoclip(case, model.module, model.params, golden.batch(case))


@pytest.mark.parametrize("name", ["vlm", "videoclip"])
def test_a_checkpoint_survives_conversion_and_back(
    golden_dir: Path, tmp_path: Path, vocab: Path, name: str
) -> None:
    torch = pytest.importorskip("torch")
    converted(golden_dir, tmp_path, vocab, name)
    convert.convert(tmp_path / name, tmp_path / "back.pt", Options())
    actual = torch.load(tmp_path / "back.pt", weights_only=True)["model"]
    expected = pytorch.load(golden_dir / f"{name}_checkpoint.pt")["model"]
    assert list(actual) == list(expected)
    for key, value in expected.items():
        array = actual[key].numpy()
        assert (array.dtype, array.shape) == (value.dtype, value.shape)
        assert array.tobytes() == value.tobytes()


def test_segmentation(golden_dir: Path) -> None:
    case = np.load(golden_dir / "vlm_segmentation.npz")
    model, params = golden.vlm(case, kind="seg")
    video, mask = jnp.asarray(case["vfeats"]), jnp.asarray(case["vmasks"])
    scores = nn.apply(Segmentation().scores, model)({"params": params}, video, mask)
    assert_close(scores[:, :, : case["logits"].shape[-1]], case["logits"])


def test_localization(golden_dir: Path) -> None:
    case = np.load(golden_dir / "vlm_localization.npz")
    model, params = golden.vlm(case, kind="joint")
    task = StepLocalization(model.config.num_layers)
    variables = {"params": params}
    text, text_mask = jnp.asarray(case["step_caps"][:, 2:]), jnp.asarray(case["step_cmasks"][:, 2:])
    video, mask = jnp.asarray(case["vfeats"]), jnp.asarray(case["vmasks"])
    steps = nn.apply(task.embed_steps, model)(variables, text, text_mask)
    frames = nn.apply(task.encoding.encode_frames, model)(variables, video, mask)
    assert_close(frames[case["vmasks"]] @ steps.T, case["logits"])


def test_s3d(golden_dir: Path) -> None:
    case, strong = np.load(golden_dir / "s3d.npz"), np.load(golden.COMPACT / "s3d_gain.npz")
    params = convert.s3d_from_published(golden.s3d_weights(case))
    model = S3D(len(params["text"]["word_embd"]["embedding"]))
    words = Words(np.load(golden_dir / "s3d_dict.npy").tolist())

    @jax.jit
    def embed(params: Any, frames: Any, words: Any) -> Any:
        variables = {"params": params}
        video = model.apply(variables, frames, method=model.embed_video)
        return *video, model.apply(variables, words, method=model.embed_text)

    inputs = case["frames"], words.encode(case["sentences"].tolist())
    video, mixed_5c, text = embed(params, *inputs)
    assert_close(video, case["video_embedding"])
    assert_close(mixed_5c, case["mixed_5c"])
    assert_close(text, case["text_embedding"])

    params = convert.s3d_from_published(golden.s3d_weights(case, float(strong["gain"])))
    video, mixed_5c, _ = embed(params, *inputs)  # with these weights the frames matter
    assert_close(video, strong["video_embedding"])
    assert_close(mixed_5c, strong["mixed_5c"])


def test_video_is_cut_and_padded(golden_dir: Path) -> None:
    for case in json.loads((golden_dir / "sequences.json").read_text())["video"]:
        start, end = tf.constant([[case["start"]]]), tf.constant([[case["end"]]])
        features = tf.pad(tf.constant([case["features"]], tf.float32), [[0, 0], [0, 1], [0, 0]])
        video, mask = cutting.cut_video(features, start, end, len(case["vmasks"]))
        np.testing.assert_array_equal(mask[0, 0], case["vmasks"])
        np.testing.assert_array_equal(video[0, 0], np.float32(case["vfeats"]))


def test_text_is_cut_and_padded(golden_dir: Path) -> None:
    cases = json.loads((golden_dir / "sequences.json").read_text())["text"]
    tokens = [token for case in cases for token in case["token_ids"]]
    ends = np.cumsum([len(case["token_ids"]) for case in cases])
    starts = ends - [len(case["token_ids"]) for case in cases]
    cls_id, sep_id = cases[0]["caps"][:2]
    pad_id = next(case["caps"][-1] for case in cases if not case["cmasks"][-1])
    text, mask = cutting.cut_text(
        tf.constant([tokens]),
        tf.constant([starts], tf.int32),
        tf.constant([ends], tf.int32),
        len(cases[0]["caps"]) - 2,
        sep_id,
        pad_id,
    )
    for i, case in enumerate(cases):
        np.testing.assert_array_equal([cls_id, sep_id, *text[0, i].numpy()], case["caps"])
        np.testing.assert_array_equal([True, True, *mask[0, i].numpy()], case["cmasks"])


def test_retrieval_metrics(golden_dir: Path) -> None:
    case = json.loads((golden_dir / "metrics.json").read_text())["retrieval"]
    actual = metrics.retrieval(np.array(case["scores"]))
    names = {"R@1": "R1", "R@5": "R5", "R@10": "R10", "MedR": "MR"}
    assert actual == pytest.approx({ours: case["metrics"][names[ours]] for ours in names})


def test_answer_accuracy(golden_dir: Path) -> None:
    case = json.loads((golden_dir / "metrics.json").read_text())["qa"]
    actual = metrics.accuracy(np.array(case["outputs"]), np.array(case["targets"]))
    assert actual == pytest.approx(case["acc"])


def test_frame_accuracy(golden_dir: Path) -> None:
    case = json.loads((golden_dir / "metrics.json").read_text())["segmentation"]
    cuts = [10, 150]  # as if of three videos
    videos = (np.split(np.array(case[key]), cuts) for key in ("outputs", "targets"))
    assert metrics.frame_accuracy(*videos) == pytest.approx(case["frame_acc"])


def test_windows_are_merged(golden_dir: Path) -> None:
    for case in json.loads((golden_dir / "metrics.json").read_text())["window_merge"]:
        logits = np.array(case["logits"], np.float32)
        starts = windows.starts(case["video_len"], logits.shape[1], 16)
        np.testing.assert_array_equal(starts, case["window_starts"])
        merged = windows.merge(logits, starts, np.array(case["window_lengths"]))
        assert_close(merged, case["merged"])


def test_ordered_steps(golden_dir: Path) -> None:
    videos = json.loads((golden_dir / "metrics.json").read_text())["crosstask"]["videos"]
    with_logits = [video for video in videos if "logits" in video]  # the compact set lacks some
    assert with_logits
    for video in with_logits:
        seconds = ordered_steps.assign(np.array(video["logits"]))
        np.testing.assert_array_equal(seconds, video["step_frames"])


def test_step_recall(golden_dir: Path) -> None:
    case = json.loads((golden_dir / "metrics.json").read_text())["crosstask"]
    tasks = [video["task"] for video in case["videos"]]
    seconds = [np.array(video["step_frames"]) for video in case["videos"]]
    right = [np.array(video["assignment_true"]) for video in case["videos"]]
    assert metrics.step_recall(tasks, seconds, right) == pytest.approx(case["metrics"])


def test_moment_metrics(golden_dir: Path) -> None:
    case = json.loads((golden_dir / "metrics.json").read_text())["didemo"]
    times = [np.array(of_sentence) for of_sentence in case["times"]]
    actual = metrics.moments(np.array(case["ranked_segments"]), times)
    names = {"rank@1": "rank1", "rank@5": "rank5", "mIoU": "miou"}
    assert actual == pytest.approx({ours: case["metrics"][names[ours]] for ours in names})


def test_moments_are_ranked(golden_dir: Path) -> None:
    case = json.loads((golden_dir / "metrics.json").read_text())["didemo_ranking"]
    frames = np.array(case["hidden_video"])[:, 1:-1]
    ranked = moments.rank(frames, np.array(case["pooled_text"]), np.array(case["vmasks"]))
    for actual, expected in zip(ranked, case["ranked_segments"], strict=True):
        np.testing.assert_array_equal(actual[: len(expected)], expected)


def test_captioning_logits_and_loss(golden_dir: Path) -> None:
    case = np.load(golden_dir / "vlm_caption.npz")
    model, params = golden.vlm(case, kind="nlg")
    batch = golden.batch(case)
    mask = attention.text_generation(batch["video_mask"], batch["text_mask"])
    np.testing.assert_array_equal(mask[:, 0], case["attention_mask"])
    logits = nn.apply(Captioning().logits, model)({"params": params}, batch, True)
    valid = np.asarray(logits)[batch["text_mask"]]
    rows = case["logit_rows"] if "logit_rows" in case.files else np.arange(len(valid))
    assert_close(valid[rows], case["logits"])
    assert_close(captioning.cross_entropy(logits, batch), case["loss"])


@pytest.mark.parametrize("num_beams", [1, 5])
def test_captioning_generation(golden_dir: Path, num_beams: int) -> None:
    """The ids would differ if lengths did not include the prompt."""
    case = np.load(golden_dir / "vlm_caption.npz")
    model, params = golden.vlm(case, kind="nlg")
    expected = case[f"generated_beam{num_beams}"]
    task = Captioning(num_beams, max_decode_length=int(case["max_decode_length"]))
    ids, _ = jax.jit(nn.apply(task.generate, model))({"params": params}, golden.batch(case))
    prompt = np.broadcast_to(case["caps"][:1, [0, 1, 0]], (len(ids), captioning.PROMPT_LENGTH))
    actual = np.concatenate([prompt, ids], axis=1)
    width = expected.shape[1]
    np.testing.assert_array_equal(actual[:, :width], expected)
    np.testing.assert_array_equal(actual[:, width:], model.config.pad_id)
