"""Annotations of other formats than COCO: one module a format, and what converts between them."""
