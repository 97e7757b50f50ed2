"""Adapter for classic YOLOv5: the detectors that the repository ultralytics/yolov5 trains, v5 to v7."""
