"""`ray start` for one of several nodes on one machine: `python own_node.py FOLDER start --address …`.

Each node unpacks a job's working directory into a folder of its own, see `name_runtime_env_folder`.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ray.scripts.scripts import main

from pipeline.cluster.ray_private import name_runtime_env_folder

if __name__ == "__main__":
    name_runtime_env_folder(f"runtime_resources_{sys.argv.pop(1)}")
    main()
