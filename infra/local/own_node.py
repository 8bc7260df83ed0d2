"""`ray start` for one of several nodes on one machine: `python own_node.py FOLDER start --address …`.

Nodes of one machine share Ray's session folder, and each unpacks a job's working directory there anew, under the
feet of those that run from it: a module that is imported later may then not be found. Here each node unpacks into
a folder of its own, as `ray.cluster_utils` has it.
"""

from __future__ import annotations

import sys

from ray._private import ray_constants
from ray.scripts.scripts import main

if __name__ == "__main__":
    ray_constants.DEFAULT_RUNTIME_ENV_DIR_NAME = f"runtime_resources_{sys.argv.pop(1)}"
    main()
