"""CIFAR-10 in five minutes: a short training on the device, its samples and their scores."""
