import numpy as np
import pytest

from data.demo import language, world

Narrated = list[tuple[world.Story, language.Texts]]


@pytest.fixture(scope="module")
def narrated() -> Narrated:
    return [(story, language.write(story)) for story in world.stories(0, "train", 300)]


def test_descriptions_name_every_step_in_order(narrated: Narrated) -> None:
    for story, texts in narrated:
        colours = [word for word in texts.description.split() if word in world.COLOURS]
        assert colours == [step.composition.colour for step in story.steps]


def test_hard_wrong_answers_recombine_the_same_words(narrated: Narrated) -> None:
    for _, texts in narrated:
        answers = texts.hard_choices.answers
        assert len(set(answers)) == 5
        assert answers[texts.hard_choices.correct] == texts.description
        assert len({tuple(sorted(answer.split())) for answer in answers}) == 1
    check_places([texts.hard_choices for _, texts in narrated])


def test_wrong_answers_describe_other_videos(narrated: Narrated) -> None:
    stories = [story for story, _ in narrated]
    descriptions = [texts.description for _, texts in narrated]
    questions = language.questions(stories, descriptions)
    for description, question in zip(descriptions, questions, strict=True):
        assert len(set(question.answers)) == 5
        assert set(question.answers) <= set(descriptions)
        assert question.answers[question.correct] == description
    check_places(questions)


def check_places(questions: list[language.Choices]) -> None:
    """Checks that the right answer is at every place about equally often."""
    places = np.bincount([question.correct for question in questions], minlength=5)
    assert places.min() > len(questions) / 5 / 2


def test_captions_are_within_the_video_and_about_it(narrated: Narrated) -> None:
    apart, named, overlapping, count = [], 0, 0, 0
    for story, texts in narrated:
        for start, end, text in texts.captions:
            assert 0 <= start < end <= story.seconds
            assert text == text.lower() and text.replace(" ", "").isalpha()
        starts = sorted(texts.captions)
        overlapping += sum(a[1] > b[0] for a, b in zip(starts, starts[1:], strict=False))
        count += len(texts.captions)
        apart += [min(abs(c[0] - s.start) for c in texts.captions) for s in story.steps]
        words = {word for _, _, text in texts.captions for word in text.split()}
        named += sum(step.composition.colour in words for step in story.steps)
    assert 0.3 < np.mean(apart) < 2.0  # early or late
    assert overlapping > 0.1 * count
    assert named > 0.6 * sum(len(story.steps) for story, _ in narrated)


def test_steps_and_clips_have_exact_times(narrated: Narrated) -> None:
    for story, texts in narrated:
        times = [(step.start, step.end) for step in story.steps]
        assert [timed[:2] for timed in texts.steps] == times
        assert [timed[:2] for timed in texts.clips] == times
