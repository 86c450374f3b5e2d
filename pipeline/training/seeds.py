"""Seeds for one purpose at one place of a training: nothing depends on what went before."""

import hashlib

import torch


def seed_for(purpose: str, *place: int) -> int:
    """A seed of 63 bits: equal ones for two purposes would correlate dropout with crops."""
    text = ":".join([purpose, *map(str, place)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator_for(purpose: str, *place: int) -> torch.Generator:
    """A generator on the CPU with such a seed."""
    return torch.Generator().manual_seed(seed_for(purpose, *place))
