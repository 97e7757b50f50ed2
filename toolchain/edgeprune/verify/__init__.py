"""Whether this machine and this device work and compute right."""
