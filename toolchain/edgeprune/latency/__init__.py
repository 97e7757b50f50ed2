"""What layers cost at each width on the target, and widths chosen by it."""
