"""What `evaluate.py` does."""
