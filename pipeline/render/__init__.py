"""Videos of what was tracked."""
