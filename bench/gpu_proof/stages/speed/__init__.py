"""Times of training steps, of their parts, of samplers and of the FID pipeline."""
