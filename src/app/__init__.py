"""What the entry scripts are made of; it may use every room, and no room uses it."""
