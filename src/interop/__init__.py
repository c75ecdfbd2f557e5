"""Checkpoints and statistics of other systems."""
