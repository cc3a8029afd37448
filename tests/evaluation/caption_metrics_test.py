"""Caption scores agree with pycocoevalcap's corpus scores, with values by hand, and resampled."""

import os
import shutil
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from vtmask.errors import UserError
from vtmask.evaluation import caption_metrics

GENERATED = [
    "Cut the  onion into small pieces",
    "add oil to the pan and fry the onion",
    "",
    "mix the flour and the eggs in a bowl ||| and stir",
    "serve the soup",
]
REFERENCES = [
    ["cut the onion into small pieces"],
    ["add oil to a pan", "fry the onion in oil and add it to the pan"],
    ["place the chicken in the oven"],
    ["mix flour and eggs in a large bowl"],
    ["pour the soup into a bowl and serve it with the bread", "serve"],
]
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="METEOR needs java")


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")


def small(indices: list[int] | range) -> caption_metrics.CaptionScores:
    return caption_metrics.score([GENERATED[i] for i in indices], [REFERENCES[i] for i in indices])


def test_corpus_scores_equal_those_of_pycocoevalcap(
    no_java: None, capfd: pytest.CaptureFixture[str]
) -> None:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    scores = small(range(5))
    assert capfd.readouterr() == ("", "")
    assert scores.missing == "METEOR is missing: it needs java on the PATH."
    texts = [" ".join(text.lower().replace("|||", "").split()) for text in GENERATED]
    generated = {i: [text] for i, text in enumerate(texts)}
    references = dict(enumerate(REFERENCES))
    bleu, _ = Bleu(4).compute_score(references, generated, verbose=0)
    expected = {f"BLEU-{n}": value for n, value in enumerate(bleu, 1)}
    expected["ROUGE-L"], _ = Rouge().compute_score(references, generated)
    expected["CIDEr"], cider = Cider().compute_score(references, generated)
    assert scores.corpus == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(scores.cider, cider)
    assert scores.rouge[0] == 1 and scores.rouge[2] == 0


def test_bleu_by_hand(no_java: None) -> None:
    scores = caption_metrics.score(["the cat the cat on"], [["the cat sat on the mat", "a cat"]])
    np.testing.assert_array_equal(scores.matches, [[5 - 1, 1, 0, 0]])  # one "cat" too many
    np.testing.assert_array_equal(scores.guesses, [[5, 4, 3, 2]])
    np.testing.assert_array_equal([scores.lengths, scores.reference_lengths], [[5], [6]])
    brevity = np.exp(1 - 6 / 5)
    assert scores.corpus["BLEU-1"] == pytest.approx(brevity * 4 / 5)
    assert scores.corpus["BLEU-2"] == pytest.approx(brevity * (4 / 5 * 1 / 4) ** 0.5)
    assert scores.corpus["BLEU-3"] == pytest.approx(0, abs=1e-4)


def test_a_resample_is_scored_as_a_corpus(no_java: None) -> None:
    indices = [0, 3, 3, 1, 4, 4, 4]
    actual, expected = small(range(5)).statistic(np.array(indices)), small(indices).corpus
    del actual["CIDEr"], expected["CIDEr"]  # its weights are those of all captions
    assert actual == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("generated", [["", ""], ["same", "same"]])
def test_scores_are_finite_if_nothing_matches(no_java: None, generated: list[str]) -> None:
    scores = caption_metrics.score(generated, [["other words"], ["more of them"]])
    assert list(scores.corpus.values()) == pytest.approx([0] * 6, abs=1e-4)


@needs_java
def test_meteor() -> None:
    scores = small(range(5))
    assert 0.2 < scores.corpus["METEOR"] < 0.6
    assert scores.missing == ""
    assert "METEOR" not in scores.statistic(np.arange(5))
    exact = caption_metrics.score(["a b c d e f"], [["x", "a b c d e f"]])
    assert exact.corpus["METEOR"] == pytest.approx(1, abs=0.01)


def test_a_failing_java_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\nexit 1\n")
    java.chmod(java.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    scores = small(range(5))
    assert "METEOR" not in scores.corpus
    assert scores.missing == f"METEOR is missing: meteor-1.5.jar fails under {java}."


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocoevalcap.bleu", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[captioning\]'"):
        small([0])


@pytest.mark.parametrize("references", [[], [[]], [["a"], ["b"]]])
def test_captions_without_references_are_refused(references: list[list[str]]) -> None:
    with pytest.raises(ValueError, match="expected references for each of 1 captions"):
        caption_metrics.score(["a caption"], references)
