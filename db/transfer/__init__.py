"""Whole searches out of a store and into another."""
