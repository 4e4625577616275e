"""Training from scratch on a small data set at equal CPU seconds: solo, YOLO-seg and mmdetection's SOLOv2."""
