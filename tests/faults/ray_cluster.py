"""A Ray cluster of two nodes with a CPU each: `python -m tests.faults.ray_cluster`.

Says its address. A line on its input kills the second node, the end of the input ends it all.
"""

from __future__ import annotations

import sys
from typing import Any

NODE: dict[str, Any] = {
    "num_cpus": 1,
    "include_dashboard": False,
    "object_store_memory": 100 << 20,
}
_ATTEMPTS = 3


def main() -> None:
    from ray.cluster_utils import Cluster

    cluster: Any = None
    for attempt in range(_ATTEMPTS):
        cluster = Cluster()
        try:
            cluster.add_node(**NODE)
            second = cluster.add_node(**NODE)
            break
        except Exception as error:  # Ray gives its processes 15 seconds, which is little when busy
            print(f"attempt {attempt + 1}: {error}", file=sys.stderr)
            cluster.shutdown()
    else:
        return
    try:
        print(cluster.address, flush=True)
        if sys.stdin.readline():
            cluster.remove_node(second, allow_graceful=False)
            sys.stdin.read()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
