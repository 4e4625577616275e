"""Benchmarks against mmdetection on the same weights and images, behind `tools/benchmark.py`; not part of the wheel."""
