"""``nasnet genotype draw`` and ``compare``: pictures of architectures, and what differs."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline.actions.genotypes import resolve
from pipeline.cli.options import (
    CellsOption,
    ClassesOption,
    FiltersOption,
    GenotypeArgument,
    SizeOption,
)
from pipeline.cli.output import OUT, JsonFlag, print_json, print_rows, say
from pipeline.errors import MachineError, UserError
from pipeline.genotypes.differences import differences
from pipeline.genotypes.drawing import FORMATS, Format, picture_of, picture_of_comparison
from pipeline.genotypes.drawing import draw as drawn
from pipeline.io import files
from pipeline.spaces.cells.config import MicroNetworkConfig, NetworkConfig
from pipeline.spaces.cells.skeleton_picture import picture_of_network
from pipeline.spaces.pictures import Picture

OutputOption = Annotated[
    Path | None,
    typer.Option(*OUT, metavar="FILE", help="The picture; its name ends in .svg or .png."),
]


def draw(
    genotype: GenotypeArgument,
    output: OutputOption = None,
    network: Annotated[
        bool, typer.Option("--network", help="Draw the network that the cells are stacked in.")
    ] = False,
    cells: CellsOption = None,
    filters: FiltersOption = None,
    size: SizeOption = None,
    classes: ClassesOption = None,
) -> None:
    """Draw a genotype's cells, or with --network the skeleton around them.

    Without --output the file is in this folder: the digest's first 12 letters and .svg.
    """
    if output is not None:
        _check(output)
    if network:
        digest, picture = _network(genotype, cells, filters, size, classes)
    elif any(value is not None for value in (cells, filters, size, classes)):
        raise UserError("--cells, --filters, --size and --classes are of a network: --network")
    else:
        found = resolve(genotype)
        digest, picture = found.digest, picture_of(found, genotype)
    path = output or Path(f"{digest[:12]}.svg")
    _write(picture, path)
    say(f"{path}: {genotype}, {'its network' if network else 'its cells'}")


def compare(
    first: GenotypeArgument,
    second: GenotypeArgument,
    output: OutputOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Print what differs between two genotypes' canonical forms; with --output draw it, too."""
    if output is not None:
        _check(output)
    a, b = resolve(first), resolve(second)
    if output is not None:
        _write(picture_of_comparison(a, b, (first, second)), output)
    rows = [
        {key: value for key, value in asdict(found).items() if not key.endswith("_names")}
        for found in differences(a, b)
    ]
    if as_json:
        print_json({"first": a.digest, "second": b.digest, "differences": rows})
        return
    say(f"first:  {first}, digest {a.digest[:12]}")
    say(f"second: {second}, digest {b.digest[:12]}")
    if rows:
        print_rows(rows, list(rows[0]), as_json=False)
    else:
        typer.echo("the same architecture")
    if output is not None:
        say(f"{output}: drawn")


def _network(
    name: str, cells: int | None, filters: int | None, size: int | None, classes: int | None
) -> tuple[str, Picture]:
    """The digest and the skeleton of a genotype, or of a published network by its name."""
    from pipeline.actions.networks import plan_of  # these load torch
    from pipeline.spaces.description import describe

    base = plan_of(name).changed(cells, filters, size, classes)
    config, inputs = base.config, base.inputs
    found = describe(base.genotype, config, inputs)
    if not isinstance(config, NetworkConfig | MicroNetworkConfig) or not found.endpoints:
        raise UserError(f"--network: {name} is no stack of cells; without it its layers are drawn")
    title = f"{name}: {config.num_cells} @ {config.num_filters}"
    return base.genotype.digest, picture_of_network(config, found.endpoints, inputs.shape, title)


def _check(path: Path) -> Format:
    """A file's format, by its ending; checked before anything is computed.

    Raises:
        UserError: the ending is another, or there is no such folder.
    """
    for form in FORMATS:
        if path.suffix.lower() == f".{form}":
            if not path.parent.is_dir():
                raise UserError(f"{path}: there is no folder {path.parent}")
            return form
    raise UserError(f"{path}: expected a name that ends in .{' or .'.join(FORMATS)}")


def _write(picture: Picture, path: Path) -> None:
    """Write a picture whole, or nothing.

    Raises:
        UserError: the extra is missing, or the file cannot be written.
    """
    data = drawn(picture, _check(path))
    try:
        files.write(str(path), memoryview(data))
    except MachineError as error:
        raise UserError(str(error)) from None
