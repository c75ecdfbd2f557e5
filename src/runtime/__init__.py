"""The process and the machine that it runs on: signals, arithmetic, compiler, energy, and the origin of a result."""
