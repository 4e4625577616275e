"""A Ray cluster of two nodes with a CPU each, on the loopback: `python ray_cluster.py` prints its address.

It lasts until its standard input is closed, and ends with its process whatever happens: Ray's processes share its fate.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    from ray.cluster_utils import Cluster

    node = dict(num_cpus=1, object_store_memory=80 * 2**20, include_dashboard=False)
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(**node)
    print(f"address {cluster.address}", flush=True)
    sys.stdin.read()
    cluster.shutdown()
