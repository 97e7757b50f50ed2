"""`edgeprune explain`: what brought the speed-up, the most expensive layers, and why they are not faster."""
