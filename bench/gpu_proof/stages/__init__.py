"""The stages of the GPU proof, each in its own process: ``prepare`` returns what runs at its turn."""
