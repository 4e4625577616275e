"""COCO annotations: reading, checking, and the dataset of their images."""
