"""Files: atomic writes, npz archives, hashes."""
