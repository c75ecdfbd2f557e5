"""``mode=doctor``: find the protocol difference, or the fault of the images, that explains a score."""
