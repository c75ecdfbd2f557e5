"""What Lightning trains, validates and tests."""
