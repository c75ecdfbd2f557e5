"""``mode=doctor``: which difference of protocol, or which fault of the images, explains a score."""
