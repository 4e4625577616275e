"""Benchmarks: comparisons with mmdetection, behind `tools/benchmark.py`."""
