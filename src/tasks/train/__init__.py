"""Training: check and plan a run, resume it, train it."""
