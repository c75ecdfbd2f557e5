"""Batches by address: which samples make up which batch, and the loaders that ask for them."""

from .batches import AddressedBatchSampler, AddressedLoader, BatchAddress, ShardSampler, address_only

__all__ = ["AddressedBatchSampler", "AddressedLoader", "BatchAddress", "ShardSampler", "address_only"]
