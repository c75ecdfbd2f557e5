"""The steps of `evaluate.py`."""
