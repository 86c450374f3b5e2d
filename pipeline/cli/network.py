"""``nasnet network``: what a network costs, and the maps it makes."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import JsonFlag, print_json, print_rows, say

if TYPE_CHECKING:
    from pipeline.networks.published import PublishedNetwork


def network(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|GENOTYPE",
            help="nasnet-a-cifar, -mobile or -large, enas-micro-cifar, or any genotype.",
        ),
    ],
    cells: Annotated[int | None, typer.Option("--cells", help="N, normal cells a stage.")] = None,
    filters: Annotated[int | None, typer.Option("--filters", help="F of the first stage.")] = None,
    size: Annotated[
        int | None, typer.Option("--size", min=1, max=4096, help="Of the images, in pixels.")
    ] = None,
    classes: Annotated[int | None, typer.Option("--classes", min=1, max=100_000)] = None,
    as_json: JsonFlag = False,
) -> None:
    """Print a network's parameters, multiply-adds and end points; nothing is trained."""
    from pipeline.config import changed
    from pipeline.networks.description import describe

    base = named(name)
    counts = {"num_cells": cells, "num_filters": filters}
    config = changed(base.config, {k: v for k, v in counts.items() if v is not None})
    side = size or base.image_size
    found = describe(
        base.genotype, config, image_shape=(3, side, side), classes=classes or base.classes
    )
    if as_json:
        print_json(asdict(found))
        return
    say(f"{name}: {config.num_cells} @ {config.num_filters}, images of {side}x{side}")
    typer.echo(f"parameters            {found.parameters:>15,}")
    typer.echo(f"auxiliary parameters  {found.auxiliary_parameters:>15,}")
    typer.echo(f"multiply-adds         {found.macs:>15,}\n")
    rows = [
        {"end_point": end, "channels": shape[0], "size": "x".join(map(str, shape[1:])) or "-"}
        for end, shape in found.endpoints.items()
    ]
    print_rows(rows, list(rows[0]), as_json=False)


def named(name: str) -> "PublishedNetwork":
    """A published network, or a genotype in the default skeleton for CIFAR."""
    from pipeline.cli.named_genotype import resolve
    from pipeline.config_networks import NetworkConfig
    from pipeline.errors import UserError
    from pipeline.genotype import CellGenotype
    from pipeline.networks.published import PUBLISHED_NETWORKS, PublishedNetwork

    if name in PUBLISHED_NETWORKS:
        return PUBLISHED_NETWORKS[name]
    genotype = resolve(name)
    if not isinstance(genotype, CellGenotype):
        raise UserError(f"{name}: it is no genotype of cells, and has a skeleton of its own")
    return PublishedNetwork(genotype, NetworkConfig(), image_size=32, classes=10)
