"""Sinks of generated samples: a folder on the disk, a metric suite, memory for a picture."""
