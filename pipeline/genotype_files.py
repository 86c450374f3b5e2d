"""Genotypes in files: JSON of ours or of DARTS, and the metadata of our safetensors."""

import json
from pathlib import Path
from typing import Any

from pipeline.errors import InvalidGenotypeError, UserError
from pipeline.genotype import CellGenotype, Genotype, genotype_from_data

LARGEST_HEADER = 100_000_000  # bytes, as safetensors itself allows


def read_genotype(path: Path) -> Genotype:
    """The genotype of a JSON file (ours, or DARTS' four lists) or of a safetensors file of ours.

    Raises:
        UserError: the file cannot be read, or has no genotype; names the block.
    """
    try:
        if path.suffix == ".safetensors":
            return genotype_from_data(_metadata_genotype(path))
        data = json.loads(path.read_bytes())
    except InvalidGenotypeError as error:
        raise UserError(f"{path}: {error}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    try:
        if isinstance(data, dict) and "normal_concat" in data:
            return CellGenotype.from_darts(data)
        return genotype_from_data(data)
    except InvalidGenotypeError as error:
        raise UserError(f"{path}: {error}") from None


def _metadata_genotype(path: Path) -> Any:
    """A safetensors file begins with the length of its JSON header; no tensor is read."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length < min(LARGEST_HEADER, path.stat().st_size):
            raise ValueError("not a safetensors file")
        header = json.loads(file.read(length))
    text = header.get("__metadata__", {}).get("genotype") if isinstance(header, dict) else None
    if not isinstance(text, str):
        raise ValueError("no genotype among its metadata")
    return json.loads(text)
