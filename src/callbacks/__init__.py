"""What happens around training: averages, samples, scores, checkpoints."""
