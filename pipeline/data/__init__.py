"""Data sets: where images come from, what they are, how they are split."""
