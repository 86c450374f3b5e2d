"""Searches in files: out as JSON lines, CSV, Parquet or TensorBoard's scalars; JSON lines back in.

docs/search-files.md is their format.
"""
