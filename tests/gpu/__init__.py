"""Tests on a CUDA device. Every case also runs on the CPU, so that the code is tested without a GPU."""
