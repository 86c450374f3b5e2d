"""Genotypes in files: JSON of ours or of DARTS, and the metadata of our safetensors."""

import os
from pathlib import Path
from typing import Any

from pipeline.errors import InvalidGenotypeError, UserError
from pipeline.io.json_text import read_json
from pipeline.io.reading import blaming, open_file, read_bytes
from pipeline.spaces.base import Genotype
from pipeline.spaces.cells.genotype import CellGenotype
from pipeline.spaces.registry import genotype_from_data

MOST_BYTES = 2**18  # of a genotype's JSON; 64 layers that read all before them are 15,000
# Of a safetensors header: 100 a tensor, of which the largest networks have some thousand.
MOST_HEADER = 2**23


def read_genotype(path: Path) -> Genotype:
    """The genotype of a JSON file (ours, or DARTS' four lists) or of a safetensors file of ours.

    Raises:
        UserError: the file cannot be read, or has no genotype; names the block.
    """
    with blaming(path):
        if path.suffix == ".safetensors":
            data = _metadata_genotype(path)
        else:
            data = read_json(read_bytes(path, MOST_BYTES))
    with blaming(path):
        return _genotype(path, data)


def _genotype(path: Path, data: Any) -> Genotype:
    try:
        if isinstance(data, dict) and "normal_concat" in data:
            found: Genotype = CellGenotype.from_darts(data)
        else:
            found = genotype_from_data(data)
        found.canonical()  # what cannot be put in order is no use to anyone
    except InvalidGenotypeError as error:
        raise UserError(f"{path}: {error}") from None
    return found


def _metadata_genotype(path: Path) -> Any:
    text = safetensors_metadata(path).get("genotype")
    if text is None:
        raise ValueError("no genotype among its metadata")
    return read_json(text)


def safetensors_metadata(path: Path) -> dict[str, str]:
    """What the header of a safetensors file says beside its tensors, of which none is read.

    The file begins with the length of its header, which is JSON.

    Raises:
        OSError: it cannot be read.
        ValueError: it has no such header.
    """
    with open_file(path) as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length < min(MOST_HEADER, os.fstat(file.fileno()).st_size):
            raise ValueError("not a safetensors file")
        header = read_json(file.read(length))
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else None
    is_text = isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())
    if metadata is None or not is_text:
        raise ValueError("its metadata are no texts")
    return dict(metadata or {})
