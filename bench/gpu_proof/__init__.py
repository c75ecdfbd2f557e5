"""Correctness, speed and a trained model on a GPU, by one command of nine minutes: ``python -m bench.gpu_proof``."""
