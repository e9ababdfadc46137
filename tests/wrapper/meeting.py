"""How a process meets the other rank of a test, and leaves: for the workers that `run_ranks` starts."""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist


def meet_and_report(work):
    """Join the group that the command line names, and write down what `work`, given the folder, reports."""
    torch.set_num_threads(1)
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    (folder / f"{rank}.json").write_text(json.dumps(work(folder)))
    dist.barrier()  # or the first to go would take the others' connection with it
    dist.destroy_process_group()
    os._exit(0)  # Python's own clearing away now and then aborts within gloo: PyTorch's pull request 179291
