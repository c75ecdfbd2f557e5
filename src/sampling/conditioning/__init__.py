"""Guidance, inverse problems, replacement, masks, operators and labels."""
