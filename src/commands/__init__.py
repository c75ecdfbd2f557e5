"""What ``score-sde`` runs: one module for each command that Hydra configures, as a list of its steps."""
