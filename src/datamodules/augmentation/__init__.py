"""Changes of training images: flips, and geometric augmentation that the net is told about."""

from .geometric import GeometricAugmentation

__all__ = ["GeometricAugmentation"]
