"""One module a format of labels: whether a file is of it, and its objects."""
