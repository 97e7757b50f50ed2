"""Converters whose packages fight ours, each in a virtual environment of its own."""
