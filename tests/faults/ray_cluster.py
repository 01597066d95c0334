"""A Ray cluster of two nodes with a CPU each: `python -m tests.faults.ray_cluster`.

Says its address. A line on its input kills the second node, the end of the input ends it all.

On a busy machine Ray's processes take minutes to begin, and Ray gives them half a minute. So it is
told to wait longer, and begins no process that the tests can do without. It says nothing where a
worker that does nothing takes longer than a minute: what tests wait for would take too long there.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

PATIENCE_SECONDS = 120
NODE: dict[str, Any] = {
    "num_cpus": 1,
    "include_dashboard": False,
    "include_log_monitor": False,
    "no_monitor": True,  # of the autoscaler
    "object_store_memory": 100 << 20,
}
PATIENT = {
    "RAY_agent_register_timeout_ms": str(1000 * PATIENCE_SECONDS),
    "RAY_gcs_server_port_wait_time_s": str(PATIENCE_SECONDS),
    "RAY_worker_niceness": "0",  # else they get next to nothing of a busy processor
}
_WRITTEN_INTO_RAY = 30
_WORKER_SECONDS = 60


class _Slower:
    """The module `time`, of which Ray's own half a minute lasts as long as our patience."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def monotonic(self) -> float:
        return time.monotonic() * _WRITTEN_INTO_RAY / PATIENCE_SECONDS


def main() -> None:
    os.environ.update(PATIENT)  # before Ray reads it
    import ray
    from ray._private import node
    from ray.cluster_utils import Cluster

    waiting: Any = node
    waiting.time = _Slower()
    cluster: Any = Cluster()
    try:
        try:
            cluster.add_node(wait=False, **NODE)
            second = cluster.add_node(wait=False, **NODE)
            cluster.wait_for_nodes(PATIENCE_SECONDS)
            ray.init(cluster.address, log_to_driver=False)
            ray.get(ray.remote(lambda: None).remote(), timeout=_WORKER_SECONDS)
        except Exception as error:  # whatever keeps it from beginning
            print(error, file=sys.stderr)
            return
        finally:
            ray.shutdown()
        print(cluster.address, flush=True)
        if sys.stdin.readline():
            cluster.remove_node(second, allow_graceful=False)
            sys.stdin.read()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
