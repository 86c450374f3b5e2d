"""``nasnet retrain``, ``transfer``, ``baseline``: trainings in full, as runs like any other."""

import sys
from typing import Annotated

import typer

from db.schema.enums import Arm
from pipeline import logs
from pipeline.actions import trainings
from pipeline.actions.recipes import Typed
from pipeline.actions.trainings import Requested, Training
from pipeline.cli.follow import Interruption, follow
from pipeline.cli.options import CellsOption, FiltersOption, SetOption
from pipeline.cli.output import JsonFlag, print_json, say
from pipeline.cli.progress import image_bar
from pipeline.cli.runs_watch import RunsWatcher, report_runs, runs_show
from pipeline.errors import UserError
from pipeline.machine.processes import check_machine, make_supervisor
from pipeline.settings import get_settings
from tasks import runs
from tasks.slot import SUPERVISOR_LOCK

PresetOption = Annotated[
    str | None,
    typer.Option("--preset", help="A preset that says how to train, such as cifar10-final."),
]
EpochsOption = Annotated[int | None, typer.Option("--epochs", help="How many epochs to train.")]
LikeOption = Annotated[
    str | None,
    typer.Option(
        "--like",
        metavar="SEARCH|RUN",
        help="Take the data, split and recipe of this search or run.",
    ),
]
SeedsOption = Annotated[
    int,
    typer.Option(
        "--seeds", min=1, max=1000, help="How many runs of each genotype, with different seeds."
    ),
]


def retrain(
    search: Annotated[str, typer.Argument(help="The search's name.")],
    top: Annotated[int, typer.Option("--top", min=1, help="How many of its best genotypes.")] = 1,
    arm: Annotated[
        str | None,
        typer.Option("--arm", help="Only genotypes of this arm: policy, control or derive."),
    ] = None,
    preset: PresetOption = None,
    assignments: SetOption = None,
    cells: CellsOption = None,
    filters: FiltersOption = None,
    epochs: EpochsOption = None,
    seeds: SeedsOption = 1,
    as_json: JsonFlag = False,
) -> None:
    """Train a search's best genotypes in full, and test each once.

    The recipe is the search's table `retrain`, or a preset's; the data are the search's.
    """
    if arm is not None and arm not in list(Arm):
        raise UserError(f"--arm {arm}: expected policy, control or derive")
    typed = Typed(
        preset=preset, assignments=assignments, cells=cells, filters=filters, epochs=epochs
    )
    of_arm = None if arm is None else Arm(arm)
    _train(trainings.retrain(search, typed, top=top, seeds=seeds, arm=of_arm), as_json)


def transfer(
    genotype: Annotated[
        str,
        typer.Argument(
            metavar="GENOTYPE", help="The genotype: nasnet-a, digits:1, a digest, or a JSON file."
        ),
    ],
    dataset: Annotated[
        str, typer.Option("--dataset", help="The data set, such as imagefolder:PATH.")
    ],
    from_run: Annotated[
        int | None, typer.Option("--from", metavar="RUN", help="Start from this run's weights.")
    ] = None,
    freeze: Annotated[
        bool, typer.Option("--freeze", help="With --from: train the new head alone.")
    ] = False,
    preset: PresetOption = None,
    like: LikeOption = None,
    assignments: SetOption = None,
    cells: CellsOption = None,
    filters: FiltersOption = None,
    epochs: EpochsOption = None,
    seeds: SeedsOption = 1,
    as_json: JsonFlag = False,
) -> None:
    """Train a genotype on other data, from scratch or from a run's weights with a new head.

    The recipe is a preset's, or that of --like; for SEARCH:RANK that search's.
    """
    typed = Typed(
        preset=preset,
        like=like,
        assignments=assignments,
        cells=cells,
        filters=filters,
        epochs=epochs,
    )
    training = trainings.transfer(
        genotype, dataset, typed, seeds=seeds, from_run=from_run, freeze=freeze
    )
    _train(training, as_json)


def baseline(
    name: Annotated[
        str,
        typer.Argument(help="A network of torchvision, such as resnet18 or mobilenet_v3_small."),
    ],
    preset: PresetOption = None,
    like: LikeOption = None,
    assignments: SetOption = None,
    cells: CellsOption = None,
    filters: FiltersOption = None,
    epochs: EpochsOption = None,
    seeds: SeedsOption = 1,
    as_json: JsonFlag = False,
) -> None:
    """Train a known network under the same recipe as found ones, for the leaderboard."""
    typed = Typed(
        preset=preset,
        like=like,
        assignments=assignments,
        cells=cells,
        filters=filters,
        epochs=epochs,
    )
    _train(trainings.baseline(name, typed, seeds=seeds), as_json)


def _train(training: Training, as_json: bool) -> None:
    """Write the rows, start what is needed, follow to the end; called again it goes on."""
    check_machine()
    with image_bar() as on_file:
        asked = trainings.ask_for(training, on_file)
    home = get_settings().home
    logs.configure(SUPERVISOR_LOCK, home / "logs" / "supervisor.log")
    as_json = as_json or not sys.stdout.isatty()
    _announce(asked, str(home), as_json)
    interruption = Interruption()
    supervisor = make_supervisor()
    runs.start()
    try:
        view = follow(supervisor, RunsWatcher(asked.run_ids), runs_show(as_json), interruption)
    finally:
        supervisor.stop(interruption.is_repeated)
    if interruption.number is not None and not view.rests:
        if as_json:
            print_json({"event": "interrupted", "runs": asked.run_ids})
        else:
            say("stopped; the same command goes on")
        raise typer.Exit(interruption.exit_code)
    raise typer.Exit(report_runs(view, as_json))


def _announce(asked: Requested, home: str, as_json: bool) -> None:
    report = asked.data.report
    if as_json:
        data = report.to_data()
        print_json({"event": "asked", "runs": asked.run_ids, "home": home, "data": data})
    else:
        say(report.line())
        say(f"home {home}: runs {', '.join(map(str, asked.run_ids))}")
