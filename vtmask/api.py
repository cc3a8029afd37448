"""A trained model for Python programs: embeds, scores, localises and captions videos.

A video can be

- features from the extractor that the model was trained on, a NumPy or JAX array
  [seconds, feature_size];
- the path of a `.npy` file of such features;
- the path of a video file, from which features are extracted.

A list of videos gives a list of results. "Second" stands for the time that one feature covers,
`exported.seconds_per_feature`.

Inputs are padded to the shapes of `batch_shape`; the model is compiled once for each of them.
"""

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from vtmask import export, files, tasks
from vtmask.errors import UserError
from vtmask.evaluation import windows
from vtmask.models import VLM
from vtmask.tasks import encoding as encodings
from vtmask.tasks.base import require_vlm
from vtmask.tasks.captioning import PROMPT_LENGTH, Captioning, require_head
from vtmask.tasks.encoding import Encoding, Isolated

Video = np.ndarray | Array | str | os.PathLike[str]
Videos = Video | Sequence[Video]

MAX_BATCH = 32
SHORTEST = 8


class VideoTextModel:
    """A VLM or a VideoCLIP; `vtmask.load` returns it.

    Each modality runs alone, in the form of encoding that the model was trained for; see
    `encoding`.

    Attributes:
      exported: module, parameters, tokenizer, config, and the kind of features.
    """

    def __init__(self, exported: export.Model, s3d_weights: str | Path | None = None):
        self.exported = exported
        self._s3d_weights = s3d_weights
        form = encoding(exported)
        self._embed_video = _compiled(exported, form.embed_video)
        self._embed_text = _compiled(exported, form.embed_text)
        self._encode_frames = _compiled(exported, form.encode_frames)
        self._generate = _compiled(exported, _generate, task=captioning(exported))

    def embed_video(self, video: Videos) -> np.ndarray:
        """Embeds complete videos: float32 [H], or [videos, H] for a list.

        A video of up to max_video_len seconds runs in one window. A longer one runs in consecutive
        windows of max_video_len; the last may be shorter. The embedding is the mean over all
        seconds and the [SEP] of each window.

        Raises:
          UserError: a video can't be read, or its features are not what the model was trained on.
        """
        videos = self._read(video)
        results = [
            np.average(pooled, axis=0, weights=lengths + 1)  # + 1: [SEP]
            for _, lengths, pooled in self._over_windows(
                self._embed_video, videos, self._model_config.max_video_len
            )
        ]
        embeddings = np.array(results, np.float32).reshape(-1, self._model_config.hidden_size)
        return _like(video, embeddings)

    def embed_text(self, text: str | Sequence[str]) -> np.ndarray:
        """Embeds texts: float32 [H], or [texts, H] for a list.

        Texts are cut to max_text_len - 1 tokens, as in training.

        Raises:
          UserError: a text is not a str.
        """
        alone = isinstance(text, str) or not isinstance(text, Iterable)
        texts: list[Any] = [text] if alone else list(text)
        for place, one in enumerate(texts):
            if not isinstance(one, str):
                raise UserError(f"texts[{place}] is {type(one).__name__}, expected str")
        length = self._model_config.max_text_len
        rows = [
            np.array([*tokens[: length - 1], self._model_config.sep_id], np.int32)
            for tokens in self.exported.tokenizer.encode(texts)
        ]
        results = list(_run(self._embed_text, rows, length))
        embeddings = np.array(results, np.float32).reshape(-1, self._model_config.hidden_size)
        return embeddings[0] if isinstance(text, str) else embeddings

    def score(self, video: Videos, texts: str | Sequence[str]) -> np.ndarray:
        """Scores videos against texts by the dot products of their embeddings; higher is better.

        Returns:
          [texts], or [videos, texts] for a list of videos; without the last axis if `texts` is a
          str.

        Raises:
          UserError: as in `embed_video` and `embed_text`.
        """
        return self.embed_video(video) @ self.embed_text(texts).T

    def localize(self, video: Videos, text: str | Sequence[str]) -> Any:
        """Scores every second of a video: [seconds], or [seconds, texts] for a list of texts.

        A score is the dot product of the second's hidden state and the text's embedding, as in step
        localisation (VLM, section 4.1). It is a logit, not a probability. Videos longer than
        max_video_len run in windows that start every max_video_len / 2 seconds; hidden states are
        averaged where windows overlap.

        Returns:
          float32 array, or a list of arrays for a list of videos.

        Raises:
          UserError: as in `embed_video` and `embed_text`.
        """
        texts = self.embed_text(text)
        return _like(video, [hidden @ texts.T for hidden in self._seconds(self._read(video))])

    def encode_seconds(self, video: Videos) -> Any:
        """Returns the hidden state of every second, which `localize` scores.

        Returns:
          float32 [seconds, H], or a list of such arrays for a list of videos.

        Raises:
          UserError: as in `embed_video`.
        """
        return _like(video, list(self._seconds(self._read(video))))

    def caption(self, video: Videos) -> Any:
        """Captions a video: a str, or a list of str for a list of videos.

        The search uses the settings of the export's config if the model was fine-tuned for
        captioning, otherwise the defaults of `vtmask.tasks.captioning.Captioning`.

        Raises:
          UserError: as in `embed_video`; or the model is a VideoCLIP or has no prediction head, or
            a video is longer than max_video_len, as a caption describes one clip.
        """
        require_vlm(type(self._model_config), "captions were requested", "load a VLM")
        require_head(self.exported.params)
        size = self._model_config.max_video_len
        videos = self._read(video)
        for (name, _), features in zip(_named(video), videos, strict=True):
            if len(features) > size:
                raise UserError(
                    f"{name}: has {len(features)} features, but a caption covers at most {size}; "
                    f"pass the features of a part, such as features[:{size}]"
                )
        captions = [
            self.exported.tokenizer.decode(ids.tolist())
            for ids in _run(self._generate, videos, size)
        ]
        return _like(video, captions)

    @property
    def _model_config(self) -> Any:
        return self.exported.module.config

    def _seconds(self, videos: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """Yields the hidden states of each video's seconds, [seconds, H]."""
        size = self._model_config.max_video_len
        over = self._over_windows(self._encode_frames, videos, max(size // 2, 1))
        for starts, lengths, hidden in over:
            yield windows.merge(
                np.stack([_pad(window, size) for window in hidden]), starts, lengths
            )

    def _over_windows(
        self, function: Callable[..., Array], videos: Sequence[np.ndarray], stride: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray, list[np.ndarray]]]:
        """Yields the starts and lengths of each video's windows, and the function's outputs."""
        size = self._model_config.max_video_len
        starts = [windows.starts(len(features), size, stride) for features in videos]
        clips = [
            features[start : start + size]
            for features, places in zip(videos, starts, strict=True)
            for start in places
        ]
        outputs = _run(function, clips, size)
        for features, places in zip(videos, starts, strict=True):
            lengths = np.minimum(size, len(features) - places)
            yield places, lengths, list(islice(outputs, len(places)))

    def _read(self, video: Videos) -> list[np.ndarray]:
        """Reads the features of the videos, float32 [seconds, feature_size] each."""
        return [self._features(name, one) for name, one in _named(video)]

    def _features(self, name: str, video: Video) -> np.ndarray:
        values: Any = video
        if isinstance(video, (str, os.PathLike)):
            path = Path(video)
            values = self._read_file(path) if path.suffix == ".npy" else self._extract(path)
        try:
            features = np.asarray(values, np.float32)
        except (TypeError, ValueError):
            raise UserError(
                f"{name}: is {type(video).__name__}, expected an array of features or the path of "
                "a .npy or video file"
            ) from None
        files.check_features(name, features, self._model_config.feature_size)
        return features

    def _read_file(self, path: Path) -> np.ndarray:
        """Reads an array of features.

        Raises:
          UserError: features.json, which `vtmask extract` wrote, says that it is of another kind.
        """
        if card := files.card_of(path):
            for field in ("feature_extractor", "seconds_per_feature"):
                theirs, ours = getattr(card, field), getattr(self.exported, field)
                if theirs != ours:
                    raise UserError(
                        f"{path}: {card.path} says {field} {theirs!r}, the model was trained on "
                        f"{ours!r}; extract the video again with the model's extractor"
                    )
        return files.read_array(path)

    def _extract(self, path: Path) -> np.ndarray:
        from vtmask.features import extractors  # imported here, as it needs PyAV

        return extractors.extract(path, self.extractor)

    @functools.cached_property
    def extractor(self) -> Any:
        """The `vtmask.features.extractors.FeatureExtractor` of the model's features.

        Raises:
          UserError: it can't be created here, or needs weights that were not given.
        """
        from vtmask.features import extractors
        from vtmask.features.s3d import S3DFeatures

        name = self.exported.feature_extractor
        if name != S3DFeatures.name:
            return extractors.create(name)
        if self._s3d_weights is None:
            raise UserError(
                f"the model was trained on {name!r}, which needs weights for video files; pass "
                'them: vtmask.load(folder, s3d_weights="s3d_howto100m.pth")'
            )
        return S3DFeatures(self._s3d_weights)


def load(folder: str | Path, s3d_weights: str | Path | None = None) -> VideoTextModel:
    """See `vtmask.load`."""
    return VideoTextModel(export.load(folder), s3d_weights)


def encoding(exported: export.Model) -> Encoding:
    """Returns the form of encoding that the model was trained for, by the task of its config.

    Segmentation trains its classifier with all layers isolated. A task without `isolated_layers`
    has the form of pre-training.
    """
    task = exported.config.get("task", {})
    if task.get("name") == "segmentation":
        return Isolated(exported.module.config.num_layers)
    return encodings.create(task.get("isolated_layers"))


def captioning(exported: export.Model) -> Captioning:
    """Returns the captioning task that the model was fine-tuned for, or the default one."""
    task = exported.config.get("task", {})
    if task.get("name") == "captioning":
        return tasks.create(ConfigDict(task))
    longest = exported.module.config.max_text_len + PROMPT_LENGTH
    return Captioning(max_decode_length=min(Captioning.max_decode_length, longest))


def batch_shape(rows: int, length: int, max_length: int) -> tuple[int, int]:
    """Returns the rows and positions that a batch is padded to, powers of two.

    There are 1 to `MAX_BATCH` rows and `SHORTEST` to `max_length` positions. `max_length` itself
    need not be a power of two.
    """
    return min(_power_of_two(rows), MAX_BATCH), min(
        max(_power_of_two(length), SHORTEST), max_length
    )


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()


def _compiled(
    exported: export.Model, function: Callable[..., Array], **settings: Any
) -> Callable[..., Array]:
    """Jits `function(module, values, mask, **settings)` as a function of values and mask."""
    apply = jax.jit(nn.apply(functools.partial(function, **settings), exported.module))
    return functools.partial(apply, {"params": exported.params})


def _generate(model: VLM, video: Array, video_mask: Array, task: Captioning) -> Array:
    return task.generate(model, {"video": video, "video_mask": video_mask})[0]


def _run(
    function: Callable[..., Array], rows: Sequence[np.ndarray], max_length: int
) -> Iterator[np.ndarray]:
    """Yields the output of the function of values and mask for each row [length, …], in order."""
    for first in range(0, len(rows), MAX_BATCH):
        chunk = rows[first : first + MAX_BATCH]
        lengths = [len(row) for row in chunk]
        size, length = batch_shape(len(chunk), max(lengths), max_length)
        filled = [*range(len(chunk)), *[0] * (size - len(chunk))]
        values = np.stack([_pad(chunk[i], length) for i in filled])
        mask = np.stack([np.arange(length) < lengths[i] for i in filled])
        yield from np.asarray(function(values, mask))[: len(chunk)]


def _pad(row: np.ndarray, length: int) -> np.ndarray:
    """Pads [n, …] with zeros at the end: [length, …]."""
    return np.pad(row, [(0, length - len(row)), *[(0, 0)] * (row.ndim - 1)])


def _named(video: Videos) -> list[tuple[str, Any]]:
    """Pairs each video with its name in errors: its file or its place in the list."""
    listed = isinstance(video, (list, tuple))
    videos: Sequence[Any] = video if listed else [video]  # type: ignore[assignment]
    places = [f"videos[{i}]" if listed else "video" for i in range(len(videos))]
    return [
        (str(one) if isinstance(one, (str, os.PathLike)) else place, one)
        for place, one in zip(places, videos, strict=True)
    ]


def _like(video: Videos, results: Any) -> Any:
    """Returns all results for a list of videos, the only result for a single video."""
    return results if isinstance(video, (list, tuple)) else results[0]
