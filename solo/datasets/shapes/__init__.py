"""A generated dataset of simple shapes."""
