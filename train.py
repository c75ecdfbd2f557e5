"""Train a score model: ``python train.py experiment=digits``, ``python train.py --help``."""

from src.commands.train import main

if __name__ == "__main__":
    main()
