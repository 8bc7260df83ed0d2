"""The Ray cluster: connecting to it, its nodes, and what this project uses of Ray that is not public."""
