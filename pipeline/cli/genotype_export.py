"""``nasnet genotype export``: the architecture alone, or a network with its weights."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.actions import exporting
from pipeline.actions.genotypes import Named, find
from pipeline.cli.options import (
    CellsOption,
    ClassesOption,
    FiltersOption,
    GenotypeArgument,
    SizeOption,
)
from pipeline.cli.output import OUT, say
from pipeline.errors import UserError
from pipeline.exports import FORMATS, GRAPHS, Exported, write_genotype, write_network


def export(
    genotype: GenotypeArgument,
    form: Annotated[
        str,
        typer.Option(
            "--format", help="The file's format: json, safetensors, onnx or pt2 (torch.export)."
        ),
    ] = "json",
    run: Annotated[
        int | None, typer.Option("--run", help="Use the network and weights of this run.")
    ] = None,
    untrained: Annotated[
        bool,
        typer.Option(
            "--untrained", help="Use random weights; the network may then have any size."
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            *OUT, help="The file to write; without it, one named by digest in this folder."
        ),
    ] = None,
    cells: CellsOption = None,
    filters: FiltersOption = None,
    size: SizeOption = None,
    classes: ClassesOption = None,
    normalize: Annotated[
        bool,
        typer.Option(
            "--normalize", help="onnx and pt2: the model takes pixels from 0 to 255 (uint8)."
        ),
    ] = False,
) -> None:
    """Write a genotype, or a network of it with its weights.

    SEARCH:RANK is the search's own network, for its images, with the weights that it kept; --run
    is a run's. --untrained has random weights; --cells, --filters, --size and --classes, too.
    A network's file is checked: read again, it gives the same outputs to 1e-4.
    """
    if form not in FORMATS:
        raise UserError(f"--format {form}: expected {', '.join(FORMATS)}")
    if normalize and form not in GRAPHS:
        raise UserError(f"--normalize: --format {form} has no graph; {' and '.join(GRAPHS)} have")
    sizes = (cells, filters, size, classes)
    _check_asked(form, run, untrained, any(value is not None for value in sizes))
    named = find(genotype)
    found = named.genotype
    path = output or Path(f"{found.digest[:12]}.{form}")
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}")
    if form == "json":
        write_genotype(found, path)
        say(f"{path}: genotype {found.digest[:12]}")
        return
    exported = _network(genotype, named, run, sizes if untrained else None)
    write_network(exported, form, path, normalize=normalize)
    say(f"{path}: {found.digest[:12]}, weights: {exported.weights}; checked")


def _check_asked(form: str, run: int | None, untrained: bool, resized: bool) -> None:
    """Refuse options of which one would not be heard."""
    if form == "json" and (run is not None or untrained or resized):
        raise UserError("--format json has the architecture alone: choose another for a network")
    if run is not None and untrained:
        raise UserError("--run and --untrained: weights are a run's, or random")
    if resized and not untrained:
        raise UserError(
            "--cells, --filters, --size, --classes: weights belong to one size; --untrained has "
            "random ones of any"
        )


def _network(
    text: str,
    named: Named,
    run: int | None,
    sizes: tuple[int | None, int | None, int | None, int | None] | None,
) -> Exported:
    """The network that is meant; ``sizes`` are of an untrained one, None: it has weights."""
    if run is not None:
        return exporting.of_run(named.genotype, run)
    if sizes is not None:
        return exporting.untrained(named, *sizes)
    if named.rank is None:
        raise UserError(
            f"{text}: a genotype has no weights: --run RUN or SEARCH:RANK say whose, --untrained "
            "has random ones"
        )
    return exporting.of_rank(named.rank)
