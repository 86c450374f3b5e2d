"""On PYTHONPATH, makes some children bad, by their digest: no line of the product knows of it.

Python imports this at its start. ``CHAOS_BAD`` says how one child in thirty is bad, in turn.
"""

import os
import sys
import time


def badness(digest: str) -> str | None:
    """How the child of that digest is bad, if it is."""
    kinds = [kind for kind in os.environ.get("CHAOS_BAD", "").split(",") if kind]
    number = int(digest[:8], 16)
    if not kinds or number % 30:
        return None
    return kinds[number // 30 % len(kinds)]


def misbehave(kind: str, inputs):
    """What a bad child does in its first step of training."""
    if kind == "raise":
        raise ZeroDivisionError("a bug in one operation")
    if kind == "exit":
        os._exit(9)
    if kind == "loop":
        while True:
            time.sleep(0.01)
    if kind == "allocate":
        import torch

        kept = []
        while True:
            kept.append(torch.ones(2**24))
    return tuple(value * float("nan") for value in inputs)


def _patch() -> None:
    import pipeline.networks as networks

    build = networks.build

    def build_some_badly(genotype, *arguments, **options):
        network = build(genotype, *arguments, **options)
        kind = badness(genotype.literal_digest)
        if kind is not None:

            def hook(module, inputs):
                return misbehave(kind, inputs) if module.training else None

            network.stem.register_forward_pre_hook(hook)
        return network

    networks.build = build_some_badly


def _trains(arguments: list[str]) -> bool:
    worker = "worker" in arguments and arguments[-1].startswith("cpu-")
    return worker or any("search_digest" in argument for argument in arguments)


if os.environ.get("CHAOS_BAD") and _trains(sys.orig_argv):
    _patch()
