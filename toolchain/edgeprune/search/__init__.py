"""Search: one Optuna study over widths, depth, activation and image size; the strength of sparse training."""
