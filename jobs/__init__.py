"""What is submitted to a cluster: thin commands, options to one call."""
