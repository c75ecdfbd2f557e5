"""Metrics over features: each a ``torchmetrics.Metric`` in a file of its own."""
