"""Time grids, samplers, guidance and likelihood."""
