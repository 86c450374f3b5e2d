"""``nasnet network``: what a network costs, and the maps it makes."""

from dataclasses import asdict
from typing import Annotated

import typer

from pipeline.actions.networks import NetworkPlan, plan_of
from pipeline.cli.options import CellsOption, ClassesOption, FiltersOption, SizeOption
from pipeline.cli.output import JsonFlag, print_json, print_rows, say
from pipeline.spaces.description import describe


def network(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|GENOTYPE",
            help="nasnet-a-cifar, -mobile or -large, enas-micro-cifar, or any genotype.",
        ),
    ],
    cells: CellsOption = None,
    filters: FiltersOption = None,
    size: SizeOption = None,
    classes: ClassesOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Print a network's parameters, multiply-adds and end points; nothing is trained.

    SEARCH:RANK is that search's network, for its images; another genotype stands in the default
    skeleton, for images of CIFAR-10.
    """
    base = plan_of(name).changed(cells, filters, size, classes)
    found = describe(base.genotype, base.config, base.inputs)
    if as_json:
        print_json({**asdict(found), **_what(base)})
        return
    say(f"{name}: {base.title}")
    typer.echo(f"parameters            {found.parameters:>15,}")
    typer.echo(f"auxiliary parameters  {found.auxiliary_parameters:>15,}")
    typer.echo(f"multiply-adds         {found.macs:>15,}")
    rows = [
        {"end_point": end, "channels": shape[0], "size": "x".join(map(str, shape[1:])) or "-"}
        for end, shape in found.endpoints.items()
    ]
    if rows:
        typer.echo("")
        print_rows(rows, list(rows[0]), as_json=False)


def _what(base: NetworkPlan) -> dict[str, object]:
    """What was counted: the skeleton, and the images it is for."""
    return {
        "network": None if base.config is None else base.config.model_dump(mode="json"),
        "image_shape": base.inputs.shape,
        "classes": base.inputs.classes,
    }
