"""How results are shown: tables, pictures, loggers."""
