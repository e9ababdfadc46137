"""See what Opt2Vec's embeddings hold, projected and coloured: `python examples/embeddings.py`.

`python examples/embeddings.py opt2vec runs/mnist.png mnist_mlp` draws those of runs on 5,000 handwritten digits.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import agents
from agents.training.opt2vec.embeddings import collect, embedding_figure

TASKS = ("synthetic_classification:15", "synthetic_regression:15", "synthetic_sequence:14", "quadratic:15")


def main(
    policy: str = "opt2vec",
    picture: str | None = None,
    tasks: Sequence[str] = TASKS,
    total_steps: int = 200,
    most: int = 2000,
) -> int:
    """Draw the embeddings of some runs; return how many there are."""
    found = collect(agents.load(policy), tasks, total=total_steps)
    figure = embedding_figure(found, most=most)
    if picture is not None:
        Path(picture).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(picture)
    return len(found.vectors)


if __name__ == "__main__":
    place = sys.argv[2] if len(sys.argv) > 2 else "runs/embeddings.png"
    count = main(*sys.argv[1:2], picture=place, tasks=sys.argv[3:] or TASKS)
    print(f"{count} embeddings are drawn in {place}")
