"""``nasnet data``: what a data set is, before anything is trained on it."""

from typing import Annotated

import typer

from pipeline.cli.output import JsonFlag, print_json, print_rows, say
from pipeline.config.search import DataConfig
from pipeline.errors import UserError

app = typer.Typer(no_args_is_help=True, help="Data sets.")

DatasetArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="digits, cifar10, ..., or a folder, a .zip of one, an .npz or an .h5 file.",
    ),
]
MOST_NAMED = 20  # files that cannot be read, on a terminal


@app.command()
def check(
    dataset: DatasetArgument,
    image_size: Annotated[
        int | None,
        typer.Option("--image-size", min=4, max=4096, help="As the key image_size."),
    ] = None,
    validation: Annotated[
        int | None, typer.Option("--validation", min=1, help="As the key validation.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Decode every file, however many there are.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Look at a data set: sizes, classes, the split, what is left out, what is suspicious.

    Exit code 0: it can be searched on; 2: it cannot, says why. Nothing is written.
    """
    from pipeline.cli.checked_data import look_at

    config = DataConfig(dataset=dataset, image_size=image_size, validation=validation)
    report = look_at(config, every=every)
    if as_json:
        print_json(report.to_data())
    else:
        for row in report.rows():
            say(row)
        columns = ("name", "train", "validation", "test")
        rows = [{key: getattr(one, key) for key in columns} for one in report.classes]
        print_rows(rows, columns, as_json=False)
        for problem in report.unreadable[:MOST_NAMED]:
            say(problem, to_stderr=True)
    if report.unreadable:
        raise UserError(
            f"{dataset}: {len(report.unreadable)} of {report.looked_at} files cannot be read: "
            "mend or remove them"
        )
