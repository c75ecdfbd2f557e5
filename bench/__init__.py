"""Costs of steps and commands, measured next to the usual alternatives: ``python -m bench``."""
