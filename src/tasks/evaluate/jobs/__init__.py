"""Units of evaluation: scores of samples or of given images, losses and likelihoods of a split."""
