"""Checkpoints, configurations and parameter names of score_sde_pytorch."""
