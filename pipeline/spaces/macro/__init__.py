"""ENAS' macro space: an operation and skips for each layer."""
