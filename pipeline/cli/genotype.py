"""``nasnet genotype``: architectures, by name, digest, file or rank."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from db.lifecycle import searches
from db.reads import lineage, ranking
from db.schema import migrations
from db.schema.enums import Arm, CellScope, Order
from db.schema.session import transaction
from pipeline.actions.genotypes import Named, find, make_filter, resolve
from pipeline.actions.stores import has_store, open_home, open_store
from pipeline.cli import drawing
from pipeline.cli.best import COLUMNS, best_rows
from pipeline.cli.options import (
    CellsOption,
    ClassesOption,
    FiltersOption,
    GenotypeArgument,
    SizeOption,
)
from pipeline.cli.output import OUT, JsonFlag, print_json, print_rows, say
from pipeline.errors import UserError
from pipeline.genotypes.genotype_files import read_genotype
from pipeline.settings import get_settings
from pipeline.spaces.base import Genotype
from tasks.runs import add_genotype

if TYPE_CHECKING:
    from pipeline.exports import Exported

app = typer.Typer(help="Architectures that were found, or published.", no_args_is_help=True)

UsesOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="OPERATION",
        help="Only those with this operation, such as sep_conv_5x5; may be given several times.",
    ),
]
WithoutOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="OPERATION", help="Only those without this operation; may be given several times."
    ),
]
MinRewardOption = Annotated[float | None, typer.Option(min=0.0, help="Only from this reward.")]
MinAccuracyOption = Annotated[
    float | None, typer.Option(min=0.0, help="Only from this accuracy (0 to 1).")
]
MaxParamsOption = Annotated[
    float | None, typer.Option(min=0.0, help="Only up to this many parameters.")
]
MaxMacsOption = Annotated[
    float | None, typer.Option(min=0.0, help="Only up to this many multiply-adds of an image.")
]


@app.command("list")
def list_genotypes(
    search: Annotated[str, typer.Option("--search", help="The search's name.")],
    uses: UsesOption = None,
    without: WithoutOption = None,
    place: Annotated[
        CellScope, typer.Option("--in", help="The cell in which operations are looked for.")
    ] = CellScope.EITHER,
    arm: Annotated[Arm | None, typer.Option("--arm", help="Only those of this arm.")] = None,
    min_reward: MinRewardOption = None,
    min_accuracy: MinAccuracyOption = None,
    max_params: MaxParamsOption = None,
    max_macs: MaxMacsOption = None,
    sort: Annotated[
        Order,
        typer.Option(
            "--sort", help="What orders the list; id is the order they were proposed in."
        ),
    ] = Order.REWARD,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=100_000, help="How many to list.")
    ] = 20,
    offset: Annotated[
        int, typer.Option("--offset", min=0, max=2**31, help="How many to pass over first.")
    ] = 0,
    as_json: JsonFlag = False,
) -> None:
    """List a search's genotypes that have a reward: the best, or the smallest, first.

    Any other question can be asked with `nasnet query`.
    """
    wanted = make_filter(
        uses=uses or (),
        without=without or (),
        place=place,
        arm=arm,
        min_reward=min_reward,
        min_accuracy=min_accuracy,
        max_parameters=max_params,
        max_macs=max_macs,
    )
    open_store()
    with transaction(read_only=True) as connection:
        found = searches.get(connection, search)
        rows = ranking.ranked(connection, found.id, wanted, order=sort, limit=limit, offset=offset)
    # SEARCH:RANK names the best of all only
    is_plain = wanted == ranking.EVERYTHING and sort is Order.REWARD
    listed = best_rows(rows, search if is_plain else None, first=offset + 1)
    print_rows(listed, COLUMNS if is_plain else COLUMNS[1:], as_json=as_json)


@app.command()
def show(
    genotype: GenotypeArgument,
    as_json: JsonFlag = False,
) -> None:
    """Show a genotype: its cells or layers, and where it was found."""
    from pipeline.spaces.registry import kind_of

    found = resolve(genotype)
    rows = _found_rows(found)
    if as_json:
        print_json({"digest": found.digest, "genotype": found.to_data(), "children": rows})
        return
    typer.echo(f"digest {found.digest}")
    for line in kind_of(found).words.lines(found):
        typer.echo(line)
    if rows:
        typer.echo("")
        print_rows(rows, list(rows[0]), as_json=False)


@app.command()
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
    from pipeline.exports import FORMATS, GRAPHS, write_genotype, write_network  # loads torch

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
) -> "Exported":
    """The network that is meant; ``sizes`` are of an untrained one, None: it has weights."""
    from pipeline.actions import exporting  # loads torch

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


@app.command("import")
def import_genotype(
    file: Annotated[
        Path,
        typer.Argument(
            help="A JSON file (ours or of DARTS), or a safetensors file that was exported."
        ),
    ],
    as_json: JsonFlag = False,
) -> None:
    """Add a file's genotype to the store; weights stay in the file."""
    canonical = read_genotype(file).canonical()
    open_home()
    migrations.prepare()
    with transaction() as connection:
        genotype_id = add_genotype(connection, canonical)
    if as_json:
        print_json({"digest": canonical.literal_digest, "id": genotype_id})
    else:
        typer.echo(f"genotype {canonical.literal_digest}")


def _found_rows(genotype: Genotype) -> list[dict[str, object]]:
    """Where a genotype was proposed; none where there is no store."""
    if not has_store(get_settings()):
        return []
    with transaction(read_only=True) as connection:
        for row in lineage.genotypes_by_prefix(connection, genotype.digest):
            children = lineage.children_of_genotype(connection, row.id)
            return [child._asdict() for child in children]
    return []


app.command("draw")(drawing.draw)
app.command("compare")(drawing.compare)
