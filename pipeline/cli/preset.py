"""``nasnet preset``: the configurations that ship with the package."""

from typing import Annotated

import typer

from pipeline.cli.output import JsonFlag, print_rows

app = typer.Typer(help="The configurations that ship with the package.", no_args_is_help=True)


@app.command("list")
def list_presets(as_json: JsonFlag = False) -> None:
    """List the presets."""
    from pipeline.config import is_recipe, make_config, make_run_config
    from pipeline.config_networks import MicroNetworkConfig, NetworkConfig
    from pipeline.config_tables import preset_names, read_preset

    rows = []
    for name in preset_names():
        tables = read_preset(name)
        recipe = is_recipe(tables)
        config = make_run_config(tables) if recipe else make_config(tables).run_config()
        network = config.network or NetworkConfig()
        size = "by layers"
        if isinstance(network, NetworkConfig | MicroNetworkConfig):
            size = f"{network.num_cells} @ {network.num_filters}"
        rows.append(
            {
                "name": name,
                "kind": "recipe" if recipe else "search",
                "dataset": tables.get("dataset"),
                "controller": None if recipe else tables["controller"].get("name", "ppo"),
                "children": None if recipe else tables["budget"]["children"],
                "epochs": config.training.epochs,
                "network": size,
            }
        )
    print_rows(rows, list(rows[0]), as_json=as_json)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A preset's name.")], as_json: JsonFlag = False
) -> None:
    """Print a preset's file; with --json, all keys with their defaults filled in."""
    from pipeline.cli.output import print_json
    from pipeline.config import is_recipe, make_config, make_run_config
    from pipeline.config_tables import preset_text, read_preset

    tables = read_preset(name)
    if as_json:
        config = make_run_config(tables) if is_recipe(tables) else make_config(tables)
        print_json(config.model_dump(mode="json"))
    else:
        typer.echo(preset_text(name), nl=False)
