"""What a step costs, side by side with what people would use instead: ``python -m bench``."""
