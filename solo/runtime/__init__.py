"""Runs exported models with numpy, OpenCV and ONNX Runtime or OpenVINO: nothing here imports torch or mmengine."""
