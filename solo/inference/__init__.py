"""From images to instances: the predictor, test-time augmentation, visualisation and result files."""
