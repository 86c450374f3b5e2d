"""``nasnet preset``: the configurations that ship with the package."""

from typing import Annotated

import typer

from pipeline.cli.output import JsonFlag, print_rows

app = typer.Typer(help="The configurations that ship with the package.", no_args_is_help=True)


@app.command("list")
def list_presets(as_json: JsonFlag = False) -> None:
    """List the presets."""
    import tomllib

    from pipeline.config import make_config, preset_names, preset_text

    rows = []
    for name in preset_names():
        config = make_config(tomllib.loads(preset_text(name)))
        rows.append(
            {
                "name": name,
                "dataset": config.dataset,
                "controller": config.controller.name,
                "children": config.budget.children,
                "epochs": config.training.epochs,
                "network": f"{config.network.num_cells} @ {config.network.num_filters}",
            }
        )
    print_rows(rows, list(rows[0]), as_json=as_json)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A preset's name.")], as_json: JsonFlag = False
) -> None:
    """Print a preset's file; with --json, all keys with their defaults filled in."""
    import tomllib

    from pipeline.cli.output import print_json
    from pipeline.config import make_config, preset_text

    text = preset_text(name)
    if as_json:
        print_json(make_config(tomllib.loads(text)).model_dump(mode="json"))
    else:
        typer.echo(text, nl=False)
