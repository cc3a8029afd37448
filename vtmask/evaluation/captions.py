"""Generated captions against those that people wrote.

The scorers are those of `pycocoevalcap`, as the published evaluation has them (nlg-eval): text is
lower-cased and split at whitespace, without PTB's tokenizer.
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
_TINY, _SMALL = 1e-15, 1e-9  # the scorer's, so that nothing divides by zero


@dataclasses.dataclass(frozen=True)
class CaptionScores:
    """Scores of N captions.

    Attributes:
      rouge, cider: of each caption, [N]; the corpus has their means.
      matches, guesses: n-grams that a reference has, and all, of n from 1 to 4: [N, 4].
      lengths, reference_lengths: words of a caption, and of the reference nearest in length: [N].
      meteor: of the corpus; None where it is missing.
      missing: a sentence that says why, else empty.
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
        """Figures: "BLEU-1" to "BLEU-4", "ROUGE-L" and, where it isn't missing, "METEOR", which are
        fractions, and "CIDEr", up to 10."""
        figures = self.statistic(np.arange(len(self.rouge)))
        return figures if self.meteor is None else figures | {"METEOR": self.meteor}

    def statistic(self, indices: np.ndarray) -> dict[str, float]:
        """The corpus's scores, without METEOR, of the captions at `indices`, which may repeat.

        An n-gram's weight in CIDEr stays that of all captions.
        """
        matches, guesses = self.matches[indices].sum(axis=0), self.guesses[indices].sum(axis=0)
        precisions = np.cumprod((matches + _TINY) / (guesses + _SMALL))
        bleu = precisions ** (1 / np.arange(1, _ORDERS + 1))
        length, wanted = self.lengths[indices].sum(), self.reference_lengths[indices].sum()
        ratio = (length + _TINY) / (wanted + _SMALL)
        bleu *= np.exp(min(0.0, 1 - 1 / ratio))
        return {f"BLEU-{n}": float(score) for n, score in enumerate(bleu, 1)} | {
            "ROUGE-L": float(self.rouge[indices].mean()),
            "CIDEr": float(self.cider[indices].mean()),
        }


def score(generated: Sequence[str], references: Sequence[Sequence[str]]) -> CaptionScores:
    """BLEU, ROUGE-L, CIDEr and, where `java` is on the PATH, METEOR.

    Args:
      generated: N captions, which may be empty.
      references: of each, one or more.

    Raises:
      UserError: pycocoevalcap is not installed.
      ValueError: there are no captions, or other than N or empty lists of references.
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
    found, missing = _meteor(jar, captions, right)
    return CaptionScores(
        rouge=np.array([rouge.Rouge().calc_score([caption], texts) for caption, texts in pairs]),
        cider=cider.compute_score()[1],
        matches=np.array([counts["correct"] for counts in bleu.ctest]),
        guesses=np.array([counts["guess"] for counts in bleu.ctest]),
        lengths=np.array([counts["testlen"] for counts in bleu.ctest]),
        reference_lengths=np.array(nearest),
        meteor=found,
        missing=missing,
    )


def scorers() -> tuple[ModuleType, ModuleType, ModuleType, ModuleType]:
    """pycocoevalcap's modules of BLEU, CIDEr, METEOR and ROUGE; UserError without them."""
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
    """Lower case, single spaces, and without what separates fields in METEOR's protocol."""
    return " ".join(text.lower().replace("|||", " ").split())


def _meteor(
    jar: Path, captions: list[str], references: list[list[str]]
) -> tuple[float | None, str]:
    """METEOR of the corpus, or nothing and why."""
    java = shutil.which("java")
    if java is None:
        return None, "METEOR is missing, as it needs java on the PATH."
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
            # A line is answered before the next is sent: neither side's pipe fills up.
            counts = [
                _answer(write, read, "SCORE", *texts, caption)
                for caption, texts in zip(captions, references, strict=True)
            ]
            _answer(write, read, "EVAL", *counts)  # and a line for each other caption, then all
            for _ in captions[1:]:
                read()
            return float(read()), ""
    except (OSError, ValueError):
        return None, f"METEOR is missing, as {jar.name} fails under {java}."


def _answer(write: Callable[[str], int], read: Callable[[], str], *fields: str) -> str:
    write(" ||| ".join(fields) + "\n")
    return read().strip()
