"""The probability-flow ODE with adaptive steps: samples, latents and likelihoods."""
