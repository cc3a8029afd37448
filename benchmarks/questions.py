"""Why do models answer the demo's hard questions below chance? With the video, and with another.

    python benchmarks/questions.py --data_dir=demo-run/data EXPORT...

For each kind of questions: the accuracy, the accuracy if each question is asked about another
video, and how often the right answer has rank 1 to 5.
"""

import argparse

import numpy as np

import vtmask
from vtmask.inputs.dataset import Dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("exports", nargs="+", help="models of configs/demo_qa.py")
    parser.add_argument("--data_dir", required=True, help="has demo/default")
    options = parser.parse_args()
    dataset = Dataset("demo/default", "test", options.data_dir)
    records = [dataset[index] for index in range(dataset.num_records)]
    print("| model | questions | accuracy | about another video | ranks of the right answer |")
    print("|---|---|---:|---:|---:|")
    for export in options.exports:
        model = vtmask.load(export)
        videos = np.stack([model.embed_video(record["features"]) for record in records])
        for field in ("choices", "hard_choices"):
            answers = np.stack([model.embed_text(record[field]["text"]) for record in records])
            correct = np.array([record[field]["correct"] for record in records])
            ranks, others = (
                ranks_of(np.einsum("bh,bah->ba", embeddings, answers), correct)
                for embeddings in (videos, np.roll(videos, 1, axis=0))
            )
            shares = ", ".join(f"{(ranks == rank).mean():.1%}" for rank in range(5))
            accuracies = f"{(ranks == 0).mean():.1%} | {(others == 0).mean():.1%}"
            print(f"| {export} | {field} | {accuracies} | {shares} |")


def ranks_of(scores: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """How many answers score higher than the correct one: [B, A], [B] -> [B]."""
    return (scores > np.take_along_axis(scores, correct[:, None], axis=1)).sum(axis=1)


if __name__ == "__main__":
    main()
