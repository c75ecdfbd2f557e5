"""What `sample.py` does."""
