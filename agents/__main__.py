"""`python -m agents` is the console script `optcontrol`."""

import sys

from agents.cli import main

if __name__ == "__main__":
    sys.exit(main())
