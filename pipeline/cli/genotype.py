"""``nasnet genotype``: architectures, by name, digest, file or rank. A table of its commands."""

import typer

from pipeline.cli.lazy import Entry, LazyGroup


class GenotypeCommands(LazyGroup):
    """What can be done with a genotype."""

    entries = {
        "list": Entry("pipeline.cli.genotype_lists:list_genotypes", "List a search's genotypes."),
        "show": Entry(
            "pipeline.cli.genotype_lists:show", "Show a genotype and where it was found."
        ),
        "export": Entry("pipeline.cli.genotype_export:export", "Write a genotype or a network."),
        "import": Entry(
            "pipeline.cli.genotype_import:import_genotype", "Add a file's genotype to this store."
        ),
        "draw": Entry("pipeline.cli.drawing:draw", "Draw a genotype."),
        "compare": Entry("pipeline.cli.drawing:compare", "Say what two genotypes differ in."),
    }


app = typer.Typer(
    cls=GenotypeCommands,
    help="Architectures that were found, or published.",
    no_args_is_help=True,
)
