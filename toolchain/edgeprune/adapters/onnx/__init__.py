"""A bare ONNX file as a kind of model: read into torch layers, pruned, exported again."""
