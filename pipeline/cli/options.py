"""Arguments and options that several commands take."""

from typing import Annotated

import typer

from pipeline.config.tables import preset_names

SearchArgument = Annotated[str, typer.Argument(help="The search's name.")]
SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="PRESET|FILE.toml",
        help="A preset's name, or a file with a configuration.",
        autocompletion=preset_names,
    ),
]
GenotypeArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME|DIGEST|FILE|SEARCH:RANK",
        help="nasnet-a, six letters or more of a digest, a JSON file, or digits:1 (the best).",
    ),
]
DatasetArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="digits, cifar10, ..., or a folder, a .zip of one, an .npz or an .h5 file.",
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option("--name", help="The search's name; without it, the preset's or the file's."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set one key, such as training.epochs=5; may be given several times.",
    ),
]
CellsOption = Annotated[
    int | None, typer.Option("--cells", help="N of the papers: normal cells in each stage.")
]
FiltersOption = Annotated[
    int | None, typer.Option("--filters", help="F of the papers: filters of the first stage.")
]
SizeOption = Annotated[
    int | None,
    typer.Option("--size", min=1, max=4096, help="The images' width and height in pixels."),
]
ClassesOption = Annotated[
    int | None, typer.Option("--classes", min=1, max=100_000, help="The number of classes.")
]
