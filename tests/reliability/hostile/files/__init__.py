"""What the hostile files are: one module for each family of formats."""
