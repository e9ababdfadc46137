"""Train a controller, evaluate it on held-out tasks, and say how to use it: `python train_agent.py --help`."""

import sys

from agents.arguments import Parser, run
from agents.cli import add_train

if __name__ == "__main__":
    sys.exit(run(add_train(Parser("train_agent.py", description=__doc__))))
