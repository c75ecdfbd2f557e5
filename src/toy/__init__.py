"""Pictures of points in the plane."""
