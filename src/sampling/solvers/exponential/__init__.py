"""Solvers that integrate the linear part of the ODE or SDE exactly, in the log-SNR."""
