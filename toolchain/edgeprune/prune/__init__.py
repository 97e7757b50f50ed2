"""Structured pruning: coupled groups, criteria, widths on the hardware's channel step, surgery."""
