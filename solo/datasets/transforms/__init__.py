"""Transforms that load, augment and pack samples."""
