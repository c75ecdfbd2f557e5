"""Sample from a checkpoint: ``python sample.py ckpt_path=last num_samples=1000``, ``python sample.py --help``."""

from src.commands.sample import main

if __name__ == "__main__":
    main()
