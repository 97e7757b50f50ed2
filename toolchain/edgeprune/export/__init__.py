"""torch -> ONNX, and what is put into the graph beside the network."""
