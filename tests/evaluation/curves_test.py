from evaluation.figures_test import svg

from vtmask.evaluation import curves


def test_training_curves_describe_the_loss() -> None:
    lines = [
        {"step": step, "loss": loss, "learning_rate": 1e-4, "grad_norm": 1.0}
        for step, loss in ((100, 8.0), (200, 1.5), (1300, 2.0))
    ]
    figure = curves.training_curves(lines)
    assert (
        "The loss goes from 8 at step 100 to 2 at step 1,300; at step 200 it was lowest, 1.5."
        in figure.caption
    )
    assert "<!-- learning rate -->" in svg(figure)


def test_training_curves_of_one_line() -> None:
    figure = curves.training_curves([{"step": 1, "loss": 2.0, "learning_rate": 0.0}])
    assert "The loss is 2 up to step 1." in figure.alt


def test_training_curves_with_validation() -> None:
    lines = [
        {"step": 10, "loss": 3.0, "learning_rate": 0.1},
        {"step": 10, "validation/loss": 2.5},
        {"step": 20, "loss": 1.0, "learning_rate": 0.1, "validation/loss": 2.75},
        {"step": 20, "validation/R@1": 0.5},
    ]
    figure = curves.training_curves(lines)
    assert "The loss goes from 3 at step 10 to 1 at step 20" in figure.alt
    assert "The validation loss was lowest at step 10, 2.5" in figure.alt
    assert "<!-- validation -->" in svg(figure)
    assert "validation" not in curves.training_curves([lines[0]]).alt


def test_validation_curves() -> None:
    lines = [
        {"step": 10, "loss": 0.5, "validation/loss": 0.4, "validation/seconds": 0.5},
        {"step": 10, "validation/text_to_video/R@1": 0.25, "validation/text_to_video/MedR": 1.0},
        {"step": 20, "validation/text_to_video/R@1": 0.125, "validation/text_to_video/MedR": 2.0},
    ]
    figure = curves.validation_curves(lines)
    assert figure and figure.alt == (
        "Validation by step. Highest: text to video, R@1 25.0 % at step 10."
    )
    assert "<!-- text to video, R@1 -->" in svg(figure)
    assert curves.validation_curves(lines[:1]) is None
