"""Training and tuning on Ray: data on the nodes, workers, trials. Nothing here imports torch when it is imported."""
