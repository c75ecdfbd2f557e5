"""Pictures and scores of the model during training, at regular steps."""
