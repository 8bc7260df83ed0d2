"""Measurements, each with the hardware and the ceiling it is compared with: `python -m benchmarks`."""
