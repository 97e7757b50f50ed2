"""From a data set to the network's input, and from its output to detections or classes."""
