"""What a data set holds, before a model is trained on it: checks, statistics, tuner, splits, a browser."""
