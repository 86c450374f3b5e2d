"""Genotypes in files: JSON of ours or of DARTS, and the metadata of our safetensors."""

import json
from pathlib import Path
from typing import Any

from pipeline.errors import InvalidGenotypeError, UserError
from pipeline.genotype import CellGenotype, Genotype, genotype_from_data
from pipeline.given_files import read_given

MOST_BYTES = 2**18  # of a genotype's JSON; 64 layers that read all before them are 15,000
# Of a safetensors header: 100 a tensor, of which the largest networks have some thousand.
MOST_HEADER = 2**23


def read_genotype(path: Path) -> Genotype:
    """The genotype of a JSON file (ours, or DARTS' four lists) or of a safetensors file of ours.

    Raises:
        UserError: the file cannot be read, or has no genotype; names the block.
    """
    try:
        found = _read(path)
        found.canonical()  # what cannot be put in order is no use to anyone
    except InvalidGenotypeError as error:
        raise UserError(f"{path}: {error}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    return found


def _read(path: Path) -> Genotype:
    if path.suffix == ".safetensors":
        return genotype_from_data(_metadata_genotype(path))
    data = json.loads(read_given(path, MOST_BYTES))
    if isinstance(data, dict) and "normal_concat" in data:
        return CellGenotype.from_darts(data)
    return genotype_from_data(data)


def _metadata_genotype(path: Path) -> Any:
    """A safetensors file begins with the length of its JSON header; no tensor is read."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length < min(MOST_HEADER, path.stat().st_size):
            raise ValueError("not a safetensors file")
        header = json.loads(file.read(length))
    text = header.get("__metadata__", {}).get("genotype") if isinstance(header, dict) else None
    if not isinstance(text, str):
        raise ValueError("no genotype among its metadata")
    return json.loads(text)
