"""A trained model for Python programs: embeddings, scores, seconds and captions of videos.

A video is any of

- features, an array [seconds, feature_size], NumPy's or JAX's, from the extractor that the model
  was trained on;
- the path of a `.npy` file of such;
- the path of a video file, whose features are then extracted;

and a list of videos gives a result for each. "Second" stands for the stretch of video that a
feature is of, `exported.seconds_per_feature`.

The model is compiled once for each shape that `batch_shape` gives, whatever comes.
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
    """A VLM or a VideoCLIP; `vtmask.load` makes it.

    Each modality runs alone, in the form of encoding that the model was trained for; see
    `encoding`.

    Attributes:
      exported: module, parameters, tokenizer, config, and what the features are.
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
        """Embeddings of whole videos, float32 [H], or [videos, H] of a list.

        A video of up to max_video_len seconds runs in one window. A longer one runs in consecutive
        windows of max_video_len, of which the last may be shorter; the embedding is the mean over
        all seconds and the [SEP] of each window.

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
        """Embeddings of texts, float32 [H], or [texts, H] of a list.

        A text is cut to max_text_len - 1 tokens, as in training.

        Raises:
          UserError: it is no str.
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
        """Dot products of embeddings, higher for what fits better: [texts], or [videos, texts] of a
        list of videos; without the last axis for a str.

        Raises:
          UserError: as `embed_video` and `embed_text`.
        """
        return self.embed_video(video) @ self.embed_text(texts).T

    def localize(self, video: Videos, text: str | Sequence[str]) -> Any:
        """Scores of every second: [seconds], or [seconds, texts] of a list of texts.

        A score is the dot product of the second's hidden state and the text's embedding, as in step
        localisation (VLM, section 4.1): a logit, not a probability. Videos longer than
        max_video_len go through in windows that start every half of it; where they overlap, hidden
        states are averaged.

        Returns:
          float32 array; a list of such for a list of videos.

        Raises:
          UserError: as `embed_video` and `embed_text`.
        """
        texts = self.embed_text(text)
        return _like(video, [hidden @ texts.T for hidden in self._seconds(self._read(video))])

    def encode_seconds(self, video: Videos) -> Any:
        """Hidden states of every second, which `localize` scores: float32 [seconds, H], or a list
        of such for a list of videos.

        Raises:
          UserError: as `embed_video`.
        """
        return _like(video, list(self._seconds(self._read(video))))

    def caption(self, video: Videos) -> Any:
        """Captions, a str, or a list of such for a list of videos.

        They are searched for as the export's config says if it was fine-tuned for captioning, and
        with the defaults of `vtmask.tasks.captioning.Captioning` if not.

        Raises:
          UserError: as `embed_video`; the model is a VideoCLIP or has no prediction head; a video
            is longer than max_video_len, as a caption is of one clip.
        """
        require_vlm(type(self._model_config), "captions are asked for", "load a VLM")
        require_head(self.exported.params)
        size = self._model_config.max_video_len
        videos = self._read(video)
        for (name, _), features in zip(_named(video), videos, strict=True):
            if len(features) > size:
                raise UserError(
                    f"{name}: has {len(features)} features, a caption is of at most {size}; "
                    f"give the features of a part, such as features[:{size}]"
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
        """Hidden states of each video's seconds, [seconds, H]."""
        size = self._model_config.max_video_len
        over = self._over_windows(self._encode_frames, videos, max(size // 2, 1))
        for starts, lengths, hidden in over:
            yield windows.merge(
                np.stack([_pad(window, size) for window in hidden]), starts, lengths
            )

    def _over_windows(
        self, function: Callable[..., Array], videos: Sequence[np.ndarray], stride: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray, list[np.ndarray]]]:
        """Starts and lengths of each video's windows, and what the function gives for them."""
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
        """Features of the videos, float32 [seconds, feature_size] each."""
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
        """An array; a UserError where `vtmask extract` tells that it is not of the model's kind."""
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
        from vtmask.features import extractors  # only here, as it needs PyAV

        return extractors.extract(path, self.extractor)

    @functools.cached_property
    def extractor(self) -> Any:
        """The `vtmask.features.extractors.FeatureExtractor` of the features it was trained on.

        Raises:
          UserError: it can't be made here, or needs weights that were not given.
        """
        from vtmask.features import extractors
        from vtmask.features.s3d import S3DFeatures

        name = self.exported.feature_extractor
        if name != S3DFeatures.name:
            return extractors.create(name)
        if self._s3d_weights is None:
            raise UserError(
                f"the model was trained on {name!r}, which needs weights for video files; give "
                'them: vtmask.load(folder, s3d_weights="s3d_howto100m.pth")'
            )
        return S3DFeatures(self._s3d_weights)


def load(folder: str | Path, s3d_weights: str | Path | None = None) -> VideoTextModel:
    """See `vtmask.load`."""
    return VideoTextModel(export.load(folder), s3d_weights)


def encoding(exported: export.Model) -> Encoding:
    """The form of encoding that the model was trained for.

    It is that of the config's task. A classifier for segmentation is trained with all layers
    isolated. A task that does not say has the form of pre-training.
    """
    task = exported.config.get("task", {})
    if task.get("name") == "segmentation":
        return Isolated(exported.module.config.num_layers)
    return encodings.create(task.get("isolated_layers"))


def captioning(exported: export.Model) -> Captioning:
    """The captioning task as the model was fine-tuned for it, else by default."""
    task = exported.config.get("task", {})
    if task.get("name") == "captioning":
        return tasks.create(ConfigDict(task))
    longest = exported.module.config.max_text_len + PROMPT_LENGTH
    return Captioning(max_decode_length=min(Captioning.max_decode_length, longest))


def batch_shape(rows: int, length: int, max_length: int) -> tuple[int, int]:
    """The shape that a batch is padded to: powers of two, from 1 to `MAX_BATCH` rows, from
    `SHORTEST` to `max_length` positions, of which `max_length` may be none."""
    return min(_power_of_two(rows), MAX_BATCH), min(
        max(_power_of_two(length), SHORTEST), max_length
    )


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()


def _compiled(
    exported: export.Model, function: Callable[..., Array], **settings: Any
) -> Callable[..., Array]:
    """`function(module, values, mask, **settings)` as a function of values and mask."""
    apply = jax.jit(nn.apply(functools.partial(function, **settings), exported.module))
    return functools.partial(apply, {"params": exported.params})


def _generate(model: VLM, video: Array, video_mask: Array, task: Captioning) -> Array:
    return task.generate(model, {"video": video, "video_mask": video_mask})[0]


def _run(
    function: Callable[..., Array], rows: Sequence[np.ndarray], max_length: int
) -> Iterator[np.ndarray]:
    """What the function of values and mask gives for each row [length, …], in order."""
    for first in range(0, len(rows), MAX_BATCH):
        chunk = rows[first : first + MAX_BATCH]
        lengths = [len(row) for row in chunk]
        size, length = batch_shape(len(chunk), max(lengths), max_length)
        filled = [*range(len(chunk)), *[0] * (size - len(chunk))]
        values = np.stack([_pad(chunk[i], length) for i in filled])
        mask = np.stack([np.arange(length) < lengths[i] for i in filled])
        yield from np.asarray(function(values, mask))[: len(chunk)]


def _pad(row: np.ndarray, length: int) -> np.ndarray:
    """[n, …] to [length, …], zeros after it."""
    return np.pad(row, [(0, length - len(row)), *[(0, 0)] * (row.ndim - 1)])


def _named(video: Videos) -> list[tuple[str, Any]]:
    """Each video with what errors call it: its file, or its place."""
    listed = isinstance(video, (list, tuple))
    videos: Sequence[Any] = video if listed else [video]  # type: ignore[assignment]
    places = [f"videos[{i}]" if listed else "video" for i in range(len(videos))]
    return [
        (str(one) if isinstance(one, (str, os.PathLike)) else place, one)
        for place, one in zip(places, videos, strict=True)
    ]


def _like(video: Videos, results: Any) -> Any:
    """The results for a list of videos, the only one for a video."""
    return results if isinstance(video, (list, tuple)) else results[0]
