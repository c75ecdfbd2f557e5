"""Limit the number of graphs that torch.compile may make of one function."""

from contextlib import AbstractContextManager

import torch

GRAPHS = 64
"""More graphs than any function here needs; torch's own limit of 8 is too low for some."""


def many_graphs() -> AbstractContextManager[None]:
    """Allow ``GRAPHS`` graphs per function inside, and raise an error instead of running uncompiled beyond that."""
    config = torch._dynamo.config
    # These settings have other names in torch 2.6.
    if hasattr(config, "recompile_limit"):
        names = "recompile_limit", "fail_on_recompile_limit_hit"
    else:
        names = "cache_size_limit", "fail_on_cache_limit_hit"
    limits: AbstractContextManager[None] = config.patch(dict(zip(names, (GRAPHS, True), strict=True)))
    return limits
