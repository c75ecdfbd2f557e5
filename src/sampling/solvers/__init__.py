"""Solvers of the reverse process on a time grid."""
