"""Pictures and scores of the model in training, every so many steps."""
