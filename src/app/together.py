"""What the processes of a job agree on."""

from src.metrics.distributed import raise_together

__all__ = ["raise_together"]
