"""Metrics of generated captions: BLEU, ROUGE-L, CIDEr and METEOR against references.

The scorers are those of `pycocoevalcap`, used as in the published evaluation (nlg-eval): text is
lower-cased and split at whitespace, without the PTB tokenizer.
"""

import dataclasses
import inspect
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from vtmask.errors import UserError

_ORDERS = 4
_TINY, _SMALL = 1e-15, 1e-9  # pycocoevalcap's, against division by zero


@dataclasses.dataclass(frozen=True)
class CaptionScores:
    """Scores of N captions.

    Attributes:
      rouge, cider: of each caption, float [N]; the corpus has their means.
      matches, guesses: for n from 1 to 4, the number of a caption's n-grams that are in a
        reference, and the number of all its n-grams, int [N, 4].
      lengths, reference_lengths: words of each caption, and of its reference closest in length,
        int [N].
      meteor: of the corpus, or None if it could not be computed.
      missing: a sentence with the reason why METEOR is missing, or "".
    """

    rouge: np.ndarray
    cider: np.ndarray
    matches: np.ndarray
    guesses: np.ndarray
    lengths: np.ndarray
    reference_lengths: np.ndarray
    meteor: float | None
    missing: str

    @property
    def corpus(self) -> dict[str, float]:
        """Scores of the corpus by name: "BLEU-1" to "BLEU-4", "ROUGE-L" and, unless it is missing,
        "METEOR", all from 0 to 1, and "CIDEr", from 0 to 10."""
        figures = self.statistic(np.arange(len(self.rouge)))
        return figures if self.meteor is None else figures | {"METEOR": self.meteor}

    def statistic(self, indices: np.ndarray) -> dict[str, float]:
        """Computes the scores, without METEOR, of a corpus of some of the captions.

        CIDEr keeps the n-gram weights of all captions.

        Args:
          indices: of the captions, int [M]; they may repeat.
        """
        matches, guesses = self.matches[indices].sum(axis=0), self.guesses[indices].sum(axis=0)
        precisions = np.cumprod((matches + _TINY) / (guesses + _SMALL))
        bleu = precisions ** (1 / np.arange(1, _ORDERS + 1))
        length, reference = self.lengths[indices].sum(), self.reference_lengths[indices].sum()
        ratio = (length + _TINY) / (reference + _SMALL)
        bleu *= np.exp(min(0.0, 1 - 1 / ratio))
        return {f"BLEU-{n}": float(score) for n, score in enumerate(bleu, 1)} | {
            "ROUGE-L": float(self.rouge[indices].mean()),
            "CIDEr": float(self.cider[indices].mean()),
        }


def score(generated: Sequence[str], references: Sequence[Sequence[str]]) -> CaptionScores:
    """Computes BLEU, ROUGE-L, CIDEr and, if `java` is on the PATH, METEOR.

    Args:
      generated: N captions, which may be empty strings.
      references: one or more human-written texts for each caption.

    Raises:
      UserError: pycocoevalcap is not installed.
      ValueError: N is 0, or a caption has no references.
    """
    if not generated or len(generated) != len(references) or not all(references):
        raise ValueError(
            f"expected references for each of {len(generated)} captions, got {len(references)}"
        )
    bleu_scorer, cider_scorer, rouge, meteor = scorers()
    captions = [_normalized(caption) for caption in generated]
    right = [[_normalized(text) for text in texts] for texts in references]
    pairs = list(zip(captions, right, strict=True))
    bleu, cider = bleu_scorer.BleuScorer(n=_ORDERS), cider_scorer.CiderScorer(n=_ORDERS)
    for pair in pairs:
        bleu += pair
        cider += pair
    nearest = [
        min(counts["reflen"], key=lambda length: (abs(length - len(caption.split())), length))
        for counts, caption in zip(bleu.ctest, captions, strict=True)
    ]
    jar = Path(inspect.getfile(meteor)).with_name(meteor.METEOR_JAR)
    meteor_score, missing = _meteor(jar, captions, right)
    return CaptionScores(
        rouge=np.array([rouge.Rouge().calc_score([caption], texts) for caption, texts in pairs]),
        cider=cider.compute_score()[1],
        matches=np.array([counts["correct"] for counts in bleu.ctest]),
        guesses=np.array([counts["guess"] for counts in bleu.ctest]),
        lengths=np.array([counts["testlen"] for counts in bleu.ctest]),
        reference_lengths=np.array(nearest),
        meteor=meteor_score,
        missing=missing,
    )


def scorers() -> tuple[ModuleType, ModuleType, ModuleType, ModuleType]:
    """Imports pycocoevalcap's modules for BLEU, CIDEr, METEOR and ROUGE.

    Raises:
      UserError: pycocoevalcap is not installed.
    """
    try:
        from pycocoevalcap.bleu import bleu_scorer
        from pycocoevalcap.cider import cider_scorer
        from pycocoevalcap.meteor import meteor
        from pycocoevalcap.rouge import rouge
    except ImportError as error:
        raise UserError(
            "captions are scored by pycocoevalcap, which is not installed; "
            "pip install -e '.[captioning]'"
        ) from error
    return bleu_scorer, cider_scorer, rouge, meteor


def _normalized(text: str) -> str:
    """Lower-cases, removes METEOR's field separator and collapses whitespace."""
    return " ".join(text.lower().replace("|||", " ").split())


def _meteor(
    jar: Path, captions: list[str], references: list[list[str]]
) -> tuple[float | None, str]:
    """Returns METEOR of the corpus, or None and the reason."""
    java = shutil.which("java")
    if java is None:
        return None, "METEOR is missing: it needs java on the PATH."
    command = [java, "-Xmx2G", "-jar", jar.name, "-", "-", "-stdio", "-l", "en", "-norm"]
    try:
        with subprocess.Popen(
            command,
            bufsize=1,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=jar.parent,
            encoding="utf-8",
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            write, read = process.stdin.write, process.stdout.readline
            # Each line is answered before the next is sent, so neither pipe fills up.
            counts = [
                _answer(write, read, "SCORE", *texts, caption)
                for caption, texts in zip(captions, references, strict=True)
            ]
            _answer(write, read, "EVAL", *counts)  # scores of each caption, then of the corpus
            for _ in captions[1:]:
                read()
            return float(read()), ""
    except (OSError, ValueError):
        return None, f"METEOR is missing: {jar.name} fails under {java}."


def _answer(write: Callable[[str], int], read: Callable[[], str], *fields: str) -> str:
    write(" ||| ".join(fields) + "\n")
    return read().strip()
