"""From a command line to a configuration: Hydra, validation, messages, sweeps, run folders."""
