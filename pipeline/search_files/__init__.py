"""Searches in files: out as JSON lines, CSV, Parquet or TensorBoard's scalars; JSON lines back in.

docs/how-to/search-files.md is their format.
"""
