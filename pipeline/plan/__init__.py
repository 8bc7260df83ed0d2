"""What is to do and where: options, model, placement, the clips that are missing, and their shards."""
