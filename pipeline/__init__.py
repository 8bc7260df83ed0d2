"""The service around the model: manifests, storage, decoding, tables and the run, on Ray Data."""
