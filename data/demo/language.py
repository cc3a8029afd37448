"""Writes the texts of a story: noisy narration, description, question, step and clip texts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from .world import ACTIONS, COLOURS, OBJECTS, Composition, Story

T = TypeVar("T")
Timed = tuple[float, float, str]  # start and end in seconds, text


@dataclass(frozen=True)
class Verb:
    """A way to say an action: `base` ("slide"), `ing` ("sliding"), `way` ("to the right")."""

    base: str
    ing: str
    way: str


VERBS = {
    "push": (Verb("push", "pushing", "to the right"), Verb("slide", "sliding", "to the right")),
    "pull": (Verb("pull", "pulling", "to the left"), Verb("drag", "dragging", "to the left")),
    "lift": (Verb("lift", "lifting", "up"), Verb("raise", "raising", "up")),
    "lower": (Verb("lower", "lowering", "down"), Verb("bring", "bringing", "down")),
    "spin": (Verb("spin", "spinning", "around"), Verb("turn", "turning", "around")),
    "shake": (Verb("shake", "shaking", "back and forth"), Verb("wiggle", "wiggling", "a bit")),
    "squeeze": (Verb("squeeze", "squeezing", "in and out"), Verb("pump", "pumping", "up and down")),
    "flash": (Verb("flash", "flashing", "on and off"), Verb("blink", "blinking", "on and off")),
}
SYNONYMS = {
    "ball": "sphere",
    "box": "cube",
    "ring": "hoop",
    "cone": "pyramid",
    "stick": "bar",
    "bowl": "cup",
}
SYNONYM_RATE = 0.2

INTRODUCTIONS = (
    "okay so now take the {colour} {noun}",
    "next we need the {colour} {noun}",
    "grab the {noun} the {colour} one",
    "here i have got my {colour} {noun}",
    "now for the {colour} {noun} we {base} it {way}",
    "so you {base} the {colour} {noun} {way}",
)
CONTINUATIONS = (
    "and we {base} it {way}",
    "just keep {ing} the {colour} {noun} like that",
    "you want to {base} the {noun} {way}",
    "see how i am {ing} it {way}",
    "i am {ing} this {noun} {way} nice and easy",
    "keep {ing} it {way} until it feels right",
    "the {colour} one is what i am {ing} {way}",
)
CHATTER = (
    "thanks for watching and do not forget to subscribe",
    "my grandmother showed me this trick years ago",
    "leave a comment if you have any questions",
    "i did this yesterday and it came out great",
    "do not worry if it does not work the first time",
    "let me know how it goes for you at home",
    "we had some trouble with the camera last week",
)
ELSEWHERE = (
    "last time we did the {colour} {noun}",
    "later we will {base} the {colour} {noun}",
    "you could also use this {colour} {noun} here",
)
FILLERS = ("um", "uh", "like", "so", "you know", "right")
OFF_TOPIC_RATE = 0.15
DROP_RATE = 0.06
FILLER_RATE = 0.06

LINKS = (
    ("", "then", "and finally"),
    ("first", "then", "and at last"),
    ("", "and then", "and"),
    ("to begin", "next", "then"),
    ("", "after that", "and finally"),
)
PHRASES = ("{base} the {colour} {noun} {way}", "{base} {way} the {noun} that is {colour}")
TASK_STEPS = 8
CLIP_TEXTS = (
    "someone is {ing} the {colour} {noun} {way}",
    "in this part we are {ing} this {colour} {noun} {way}",
    "here you can see how to {base} the {colour} {noun} {way}",
)


@dataclass(frozen=True)
class Mention:
    """The words chosen for one composition."""

    colour: str
    noun: str
    verb: Verb

    def fill(self, template: str) -> str:
        verb = self.verb
        return template.format(
            colour=self.colour, noun=self.noun, base=verb.base, ing=verb.ing, way=verb.way
        )


def mention(rng: np.random.Generator, what: Composition) -> Mention:
    noun = SYNONYMS.get(what.object, what.object)
    return Mention(
        what.colour,
        noun if rng.random() < SYNONYM_RATE else what.object,
        _choose(rng, VERBS[what.action]),
    )


@dataclass(frozen=True)
class Choices:
    """A multiple-choice question: one of the answers describes the video."""

    answers: tuple[str, ...]
    correct: int


@dataclass(frozen=True)
class Task:
    """The ordered steps of the task that a video is an example of; it may leave some out.

    Attributes:
      done: index in `steps` of each step of the story.
    """

    steps: tuple[str, ...]
    done: tuple[int, ...]


@dataclass(frozen=True)
class Texts:
    """All texts about one story.

    Attributes:
      captions: the narration, with noise in words and times.
      description: one sentence that names all steps in order.
      hard_choices: the description among four that combine the same words differently.
      steps: the plain step texts, with exact times.
      clips: a full sentence for each step, with exact times.
      task: the step texts among texts of steps that the video leaves out.
    """

    captions: tuple[Timed, ...]
    description: str
    hard_choices: Choices
    steps: tuple[Timed, ...]
    clips: tuple[Timed, ...]
    task: Task


def write(story: Story) -> Texts:
    """Writes all texts of a story; the same story always gets the same texts."""
    rng = np.random.default_rng((*story.key, 2))
    mentions = [mention(rng, step.composition) for step in story.steps]
    links, phrase = _choose(rng, LINKS), _choose(rng, PHRASES)
    description = _describe(mentions, links, phrase)
    others = [_describe(other, links, phrase) for other in _recombinations(rng, mentions)]
    hard_choices = _ask(rng, description, others)
    return Texts(
        captions=_narrate(rng, story),
        description=description,
        hard_choices=hard_choices,
        steps=_at_steps(story, [_plain(c) for c in _compositions(story)]),
        clips=_at_steps(
            story,
            [mention(rng, c).fill(_choose(rng, CLIP_TEXTS)) for c in _compositions(story)],
        ),
        task=_task(np.random.default_rng((*story.key, 3)), _compositions(story)),
    )


def questions(stories: Sequence[Story], descriptions: Sequence[str]) -> list[Choices]:
    """Asks for each video's description among those of four other videos, as in MSR-VTT."""
    asked = []
    for index, (story, description) in enumerate(zip(stories, descriptions, strict=True)):
        rng = np.random.default_rng((*story.key, 4))
        drawn = rng.choice(len(descriptions) - 1, 4, replace=False)
        others = [descriptions[other + (other >= index)] for other in drawn.tolist()]
        asked.append(_ask(rng, description, others))
    return asked


def _ask(rng: np.random.Generator, description: str, others: Sequence[str]) -> Choices:
    correct = int(rng.integers(len(others) + 1))
    return Choices((*others[:correct], description, *others[correct:]), correct)


def _compositions(story: Story) -> list[Composition]:
    return [step.composition for step in story.steps]


def _at_steps(story: Story, texts: Sequence[str]) -> tuple[Timed, ...]:
    return tuple(
        (step.start, step.end, text) for step, text in zip(story.steps, texts, strict=True)
    )


def _plain(what: Composition) -> str:
    return Mention(what.colour, what.object, VERBS[what.action][0]).fill(PHRASES[0])


def _task(rng: np.random.Generator, shown: Sequence[Composition]) -> Task:
    """Returns the shown steps in order, with others of the same words between them at random."""
    done = np.sort(rng.choice(TASK_STEPS, len(shown), replace=False))
    steps = dict(zip(done.tolist(), map(_plain, shown), strict=True))
    for place in range(TASK_STEPS):
        while place not in steps:
            what, colour, action = (_choose(rng, kind) for kind in (OBJECTS, COLOURS, ACTIONS))
            other = _plain(Composition(what, colour, action, place))
            if other not in steps.values():
                steps[place] = other
    return Task(tuple(steps[place] for place in range(TASK_STEPS)), tuple(done.tolist()))


def _describe(mentions: Sequence[Mention], links: tuple[str, str, str], phrase: str) -> str:
    first, middle, last = links
    words = [first, *[middle] * (len(mentions) - 2), last]
    parts = [f"{link} {m.fill(phrase)}" for link, m in zip(words, mentions, strict=True)]
    return " ".join(parts).strip()


def _recombinations(rng: np.random.Generator, mentions: list[Mention]) -> list[list[Mention]]:
    """Returns four other stories from the same words: one field, or the order, is reshuffled."""
    variants = [mentions]
    while len(variants) < 5:
        field = _choose(rng, ("colour", "noun", "verb", "order"))
        shuffled = [mentions[i] for i in rng.permutation(len(mentions))]
        if field == "order":
            other = shuffled
        else:
            other = [
                replace(m, **{field: getattr(source, field)})
                for m, source in zip(mentions, shuffled, strict=True)
            ]
        if other not in variants:
            variants.append(other)
    return variants[1:]


def _narrate(rng: np.random.Generator, story: Story) -> tuple[Timed, ...]:
    """Writes one or two captions a step, two to three seconds long, off by about a second."""
    captions = []
    for step in story.steps:
        count = int(rng.integers(1, 3))
        for index in range(count):
            templates = INTRODUCTIONS if index == 0 else CONTINUATIONS
            middle = step.start + (index + 0.5) * (step.end - step.start) / count
            start = middle - 1.25 + rng.normal()
            end = start + rng.uniform(2, 3)
            # Kept within the video, and no shorter than half a second.
            start = float(np.clip(start, 0, story.seconds - 0.5))
            end = float(np.clip(end, start + 0.5, story.seconds))
            captions.append((start, end, _say(rng, step.composition, templates)))
    return tuple(captions)


def _say(rng: np.random.Generator, what: Composition, templates: Sequence[str]) -> str:
    if rng.random() < OFF_TOPIC_RATE:
        templates = _choose(rng, (CHATTER, ELSEWHERE))
        what = Composition(
            _choose(rng, OBJECTS), _choose(rng, COLOURS), _choose(rng, ACTIONS), what.order
        )
    text = mention(rng, what).fill(_choose(rng, templates))
    heard = []
    for word in text.split():
        if rng.random() < FILLER_RATE:
            heard.append(_choose(rng, FILLERS))
        if rng.random() >= DROP_RATE:
            heard.append(word)
    return " ".join(heard) or text


def _choose(rng: np.random.Generator, options: Sequence[T]) -> T:
    return options[int(rng.integers(len(options)))]
