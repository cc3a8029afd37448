"""Why do models answer the demo's hard questions below chance? With their video, and with another.

    python benchmarks/questions.py --data_dir=demo-run/data EXPORT...

Prints for each kind of questions the accuracy, the accuracy if each question is asked about another
video, and how often the right answer has rank 1 to 5; and the same for scores that ignore the video
and add up a random number for each word at its place.
"""

import argparse
from collections import defaultdict
from typing import Any

import numpy as np

import vtmask
from vtmask.inputs.dataset import Dataset

FIELDS = ("choices", "hard_choices")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("exports", nargs="+", help="models of configs/demo_qa.py")
    parser.add_argument("--data_dir", required=True, help="has demo/default")
    options = parser.parse_args()
    dataset = Dataset("demo/default", "test", options.data_dir)
    records = [dataset[index] for index in range(dataset.num_records)]
    print("| model | questions | accuracy | about another video | ranks of the right answer |")
    print("|---|---|---:|---:|---:|")
    for field in FIELDS:
        draws = [random_ranks(records, field, seed) for seed in range(20)]
        print_row("random", field, np.concatenate(draws))
    for export in options.exports:
        model = vtmask.load(export)
        videos = np.stack([model.embed_video(record["features"]) for record in records])
        for field in FIELDS:
            answers = np.stack([model.embed_text(record[field]["text"]) for record in records])
            correct = np.array([record[field]["correct"] for record in records])
            ranks, others = (
                ranks_of(np.einsum("bh,bah->ba", embeddings, answers), correct)
                for embeddings in (videos, np.roll(videos, 1, axis=0))
            )
            print_row(export, field, ranks, f"{(others == 0).mean():.1%}")


def print_row(model: str, field: str, ranks: np.ndarray, other: str = "") -> None:
    shares = ", ".join(f"{(ranks == rank).mean():.1%}" for rank in range(5))
    print(f"| {model} | {field} | {(ranks == 0).mean():.1%} | {other} | {shares} |")


def random_ranks(records: list[Any], field: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    of_word: dict[tuple[int, str], float] = defaultdict(rng.standard_normal)
    scores = [
        [sum(of_word[place] for place in enumerate(text.split())) for text in record[field]["text"]]
        for record in records
    ]
    return ranks_of(np.array(scores), np.array([record[field]["correct"] for record in records]))


def ranks_of(scores: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """How many answers score higher than the correct one: [B, A], [B] -> [B]."""
    return (scores > np.take_along_axis(scores, correct[:, None], axis=1)).sum(axis=1)


if __name__ == "__main__":
    main()
