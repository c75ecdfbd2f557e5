"""What this code does on a GPU, by one command in nine minutes: ``python -m bench.gpu_proof``."""
