"""The reference that generated images are compared with: feature statistics, their files, and the cache."""
