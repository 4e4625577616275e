"""Read a config file, apply overrides, and check every key before anything is built."""

from solo.config.load import load_config

__all__ = ["load_config"]
