"""How fast nets, data, training and commands are: the sections of ``python -m bench``."""
