"""SiamMask and its tracker, in PyTorch."""
