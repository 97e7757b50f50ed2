"""`edgeprune explain`: what brought the speed-up, the dearest layers, and why they are not faster."""
