"""Genotypes of any space: in files, as pictures, and compared."""
