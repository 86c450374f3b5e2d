"""``nasnet network``: what a network costs, and the maps it makes."""

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.output import JsonFlag, print_json, print_rows, say

if TYPE_CHECKING:
    from pipeline.cli.named_genotype import Named
    from pipeline.config.networks import AnyNetworkConfig
    from pipeline.data.shapes import DataShape
    from pipeline.spaces.cells.genotype import Genotype

CellsOption = Annotated[int | None, typer.Option("--cells", help="N, normal cells a stage.")]
FiltersOption = Annotated[int | None, typer.Option("--filters", help="F of the first stage.")]
SizeOption = Annotated[
    int | None, typer.Option("--size", min=1, max=4096, help="Of the images, in pixels.")
]
ClassesOption = Annotated[int | None, typer.Option("--classes", min=1, max=100_000)]


@dataclass(frozen=True, slots=True)
class Base:
    """A network as it is meant before anything of it is changed."""

    genotype: "Genotype"
    config: "AnyNetworkConfig | None"
    shape: "DataShape"

    def changed(
        self, cells: int | None, filters: int | None, size: int | None, classes: int | None
    ) -> "Base":
        """The same of another size.

        Raises:
            UserError: naming the key, what it was given, and what it may be.
        """
        from pipeline.config.search import changed

        counts = {"num_cells": cells, "num_filters": filters}
        given = {key: count for key, count in counts.items() if count is not None}
        channels, height, width = self.shape.image_shape
        shape = (channels, size or height, size or width)
        return Base(
            self.genotype,
            changed(self.config, given) if given else self.config,
            replace(self.shape, image_shape=shape, classes=classes or self.shape.classes),
        )

    @property
    def title(self) -> str:
        """Its size, for people."""
        from pipeline.config.networks import MicroNetworkConfig, NetworkConfig

        _, height, width = self.shape.image_shape
        size = "its own skeleton" if self.config is None else f"skeleton {self.config.skeleton!r}"
        if isinstance(self.config, NetworkConfig | MicroNetworkConfig):
            size = f"{self.config.num_cells} @ {self.config.num_filters}"
        return f"{size}, images of {width}x{height}, {self.shape.classes} classes"


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
    from pipeline.spaces.description import describe

    base = named(name).changed(cells, filters, size, classes)
    shape = base.shape
    found = describe(
        base.genotype, base.config, image_shape=shape.image_shape, classes=shape.classes
    )
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


def _what(base: Base) -> dict[str, Any]:
    """What was counted: the skeleton, and the images it is for."""
    return {
        "network": None if base.config is None else base.config.model_dump(mode="json"),
        "image_shape": base.shape.image_shape,
        "classes": base.shape.classes,
    }


def named(name: str) -> Base:
    """A published network, or what a genotype's name means.

    Raises:
        UserError: there is no genotype of that name.
    """
    from pipeline.cli.named_genotype import find
    from pipeline.data.shapes import DataShape
    from pipeline.spaces.cells.published_networks import PUBLISHED_NETWORKS

    if name not in PUBLISHED_NETWORKS:
        return base_of(find(name))
    found = PUBLISHED_NETWORKS[name]
    shape = DataShape((3, found.image_size, found.image_size), found.classes)
    return Base(found.genotype, found.config, shape)


def base_of(found: "Named") -> Base:
    """A search's own network; of other genotypes the default skeleton, for CIFAR-10.

    Raises:
        UserError: the search's images are not here.
    """
    from pipeline.config.search import make_network_config
    from pipeline.data.shapes import BUILT_IN

    if found.rank is not None:
        from db.schema.session import transaction
        from pipeline.actions.networks import network_at

        with transaction(read_only=True) as connection:
            own = network_at(connection, found.rank)
        return Base(own.genotype, own.config, own.shape)
    kind = found.genotype.kind
    config = None if kind == "known" else make_network_config(kind, {})
    return Base(found.genotype, config, BUILT_IN["cifar10"])
