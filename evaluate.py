"""Score checkpoints or images: ``python evaluate.py ckpt_path=last``, ``python evaluate.py --help``."""

from src.commands.evaluate import main

if __name__ == "__main__":
    main()
