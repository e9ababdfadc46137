"""Train a controller, evaluate it on held-out tasks, and say how to use it: `python train_agent.py --help`."""

import argparse
import sys

from agents.cli import add_train, run

if __name__ == "__main__":
    sys.exit(run(add_train(argparse.ArgumentParser("train_agent.py", description=__doc__))))
