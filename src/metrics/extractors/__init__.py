"""Feature extractors: frozen nets that turn uint8 images into feature vectors."""
