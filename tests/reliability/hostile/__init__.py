"""A generator of hostile files: every kind, at every entrance through which a command reads an outside file."""
