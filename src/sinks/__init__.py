"""Where generated samples go: a folder on the disk, a metric suite, memory for a picture."""
