import re
from pathlib import Path

import pytest
import typer.main

from pipeline.cli import app
from tasks.app import Task
from tasks.app import app as celery_app

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


def commands(group, path=("nasnet",)):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


ALL = list(commands(typer.main.get_command(app)))


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _ in ALL])
def test_every_command_is_in_readme_and_has_help(path, command):
    assert command.help
    parts = path[1:]
    assert any(
        all(word in line for word in parts) for line in README.splitlines() if "`nasnet" in line
    )


def test_every_task_is_registered_by_its_name():
    import tasks.reconcile
    import tasks.sample
    import tasks.train
    import tasks.update  # noqa: F401

    registered = {name for name in celery_app.tasks if name.startswith("tasks.")}
    assert registered == {task.value for task in Task}


def test_every_row_of_the_table_of_faults_names_a_test_that_there_is():
    rows = [line for line in README.splitlines() if "| `test_" in line]
    assert len(rows) > 20
    source = "".join(path.read_text("utf-8") for path in Path(__file__).parent.rglob("test_*.py"))
    for row in rows:
        [name] = re.findall(r"`(test_\w+)`", row)
        assert f"def {name}(" in source, name


def test_every_test_that_security_names_is_there():
    tests = Path(__file__).parent
    text = (tests.parent / "SECURITY.md").read_text("utf-8")
    named = re.findall(r"`((?:[\w/]+\.py)?)(?:::(test_\w+))?`", text)
    named = [(file, name) for file, name in named if file or name]
    assert len(named) > 40
    where = ""
    for file, name in named:
        where = file or where  # "::test_..." is one more of the file before it
        source = (tests / where).read_text("utf-8")
        assert f"def {name}(" in source or not name, (where, name)
