"""Metrics over features: each is a ``torchmetrics.Metric`` in its own file."""
