"""From plain configuration to objects: where the files are, their annotations, and construction."""
