"""One page for many devices: builds and results beside each other."""
