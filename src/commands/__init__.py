"""The commands of ``score-sde``: one module for each command that Hydra configures, as a list of its steps."""
