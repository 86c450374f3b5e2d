"""Spaces of cells: NASNet's and ENAS' micro space, and the networks their genotypes mean."""
