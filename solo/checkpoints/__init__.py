"""Reading checkpoints: always without running code from them, always with an error that names the file."""

from solo.checkpoints.loading import load_checkpoint, load_weights

__all__ = ["load_checkpoint", "load_weights"]
