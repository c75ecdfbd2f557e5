"""Show results: tables, pictures, loggers."""
