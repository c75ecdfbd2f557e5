"""What must hold on a CUDA device. Every case runs on the CPU too, so that no case is dead code."""
