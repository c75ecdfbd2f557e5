"""Files: atomic writes, npz archives, hashes, limits for files of other people."""
