"""The lock files: what they pin is what pyproject.toml allows, and each pin has its hashes."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?P<rest>.*)$", re.MULTILINE)
NOT_TO_RUN_WITH = {"test", "docs", "dev"}


def requirements(extras):
    """What the project requires, with these extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [
        *project["dependencies"],
        *(line for extra in extras for line in project["optional-dependencies"][extra]),
    ]
    found = map(Requirement, lines)
    return [one for one in found if one.name != project["name"]]


def extras():
    return set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    )


def pins(file):
    """Versions by name; a name may have one for each Python or platform."""
    found: dict[str, list[str]] = {}
    for pin in PIN.finditer((ROOT / file).read_text()):
        found.setdefault(normal(pin["name"]), []).append(pin["version"])
    return found


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(
    ("file", "without"),
    [("requirements.lock", NOT_TO_RUN_WITH), ("requirements-dev.lock", set())],
)
def test_a_lock_pins_versions_that_the_project_allows(file, without):
    locked = pins(file)
    for requirement in requirements(extras() - without):
        versions = locked.get(normal(requirement.name), [])
        assert versions, f"{requirement} is not in {file}: CONTRIBUTING.md says how to renew it"
        for version in versions:
            assert requirement.specifier.contains(version, prereleases=True), (file, requirement)


@pytest.mark.parametrize("file", ["requirements.lock", "requirements-dev.lock"])
def test_every_pin_of_a_lock_has_hashes(file):
    text = (ROOT / file).read_text()
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(entries) > 100
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), entry.splitlines()[0]


def test_both_locks_pin_the_same_versions():
    to_run_with, all_of_them = pins("requirements.lock"), pins("requirements-dev.lock")
    differ = {name for name in to_run_with if to_run_with[name] != all_of_them.get(name)}
    assert not differ
