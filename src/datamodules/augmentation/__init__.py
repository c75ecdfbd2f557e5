"""Augmentation of training images: flips, and geometric augmentation with labels for the net."""

from .geometric import GeometricAugmentation

__all__ = ["GeometricAugmentation"]
