"""Lightning callbacks: averaged weights, samples, scores, checkpoints."""
