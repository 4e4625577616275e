"""What a data set holds, before a model is trained on it: checks, statistics, the tuner of sizes and grids, a browser."""
