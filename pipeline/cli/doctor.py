"""``nasnet doctor``: why is nothing running?"""

from dataclasses import asdict

import typer

from pipeline.cli.output import JsonFlag, print_json, say
from pipeline.machine.doctor import diagnose
from pipeline.settings import get_settings


def doctor(as_json: JsonFlag = False) -> None:
    """Say what keeps work from being done, a line for each cause with its cure; exit code 1.

    Exit code 0: nothing was found.
    """
    findings = diagnose(get_settings())
    if as_json:
        print_json([asdict(finding) for finding in findings])
    for finding in [] if as_json else findings:
        say(f"{finding.check}: {finding.problem} -> {finding.cure}")
    if not as_json and not findings:
        say("nothing found: database, broker, processes, leases, disk and clock are well")
    if findings:
        raise typer.Exit(1)
