"""Layers and blocks that the backbones are made of."""
