"""The steps of `sample.py`."""
