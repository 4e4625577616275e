"""Export of trained models to ONNX, OpenVINO and `torch.export` files that contain everything needed to run them."""
