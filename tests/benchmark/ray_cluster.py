"""Run tallies on a two-node Ray cluster on this machine, and kill a node midway: `python -m ... STORE FOLDER COUNT`."""

import json
import sys
import threading
import time

from optenv.benchmark.driver import Workers, run_cells
from optenv.benchmark.store import Store
from tests.benchmark.tally import Tally


def main(path: str, folder: str, count: int) -> None:
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    doomed = cluster.add_node(num_cpus=1)
    cells = [Tally(i, folder, seconds=0.4) for i in range(count)]

    def kill_midway() -> None:
        with Store(path) as reader:
            while len(reader) < count // 3:
                time.sleep(0.05)
            cluster.remove_node(doomed, allow_graceful=False)
            print(json.dumps({"finished before the node was killed": len(reader)}), flush=True)

    killer = threading.Thread(target=kill_midway)
    with Store(path) as store:
        killer.start()
        run_cells(cells, store, Workers("ray", jobs=2, ray_address=cluster.address), progress=False)
    killer.join()
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
