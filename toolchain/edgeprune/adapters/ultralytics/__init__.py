"""Ultralytics' detectors and classifiers."""
