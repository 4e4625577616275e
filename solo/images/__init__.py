"""Image files: sizes from their headers, and 8-bit BGR arrays from their pixels. Needs numpy and OpenCV alone."""
