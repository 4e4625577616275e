"""Measurements beside other implementations: the functions behind `tools/benchmark.py`."""
