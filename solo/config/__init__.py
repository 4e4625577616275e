"""Read a config file, apply overrides, and check every key before anything is built."""

from solo.config.load import config_files, load_config

__all__ = ["config_files", "load_config"]
