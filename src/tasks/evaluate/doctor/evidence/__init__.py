"""Traces of a fault that are measured in the images themselves, whatever a score says."""
