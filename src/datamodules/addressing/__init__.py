"""Addressed batches: which samples form which batch, and the loaders that fetch them."""

from .batches import AddressedBatchSampler, AddressedLoader, BatchAddress, ShardSampler, address_only

__all__ = ["AddressedBatchSampler", "AddressedLoader", "BatchAddress", "ShardSampler", "address_only"]
