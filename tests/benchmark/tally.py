"""Units of work for tests: they count how often they are run, take a while, and may kill their worker once.

As a script it runs them, for a test to kill: `python -m tests.benchmark.tally STORE FOLDER COUNT SECONDS`.
"""

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from optenv.benchmark.driver import Workers, run_cells
from optenv.benchmark.store import Store


@dataclass(frozen=True)
class Tally:
    index: int
    folder: str
    seconds: float = 0.0
    deadly: bool = False
    task: str = "nothing"
    name: str = "tally"
    work: float = 1.0

    @property
    def identity(self):
        return {"index": self.index}

    @property
    def key(self):
        return f"cell {self.index}"

    def check(self, result):
        pass

    def run(self):
        file = Path(self.folder) / f"{self.index}.runs"
        with file.open("a") as runs:
            runs.write(f"{os.getpid()}\n")
        if self.deadly and len(file.read_text().split()) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.seconds)
        return {"square": self.index**2, "pid": os.getpid()}

    def times_run(self):
        return len((Path(self.folder) / f"{self.index}.runs").read_text().split())


if __name__ == "__main__":
    path, folder, count, seconds = sys.argv[1:]
    with Store(path) as store:
        run_cells([Tally(i, folder, float(seconds)) for i in range(int(count))], store, Workers(jobs=1), progress=False)
