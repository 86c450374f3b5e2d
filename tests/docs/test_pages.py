"""The pages: that they are whole, that what they name is there, and that the site needs no one."""

import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import typer.main
import yaml

from pipeline.cli import app
from pipeline.config.search import make_config
from pipeline.config.tables import merge, read_preset
from tests.docs.pages import DOCS, PAGES, README, ROOT, commands, name_of, prose

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
TOML = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def without_code(page):
    return FENCE.sub("", page.read_text("utf-8"))


def anchors(page):
    """The anchors of a page's headings, as both GitHub and the site make them."""
    titles = re.findall(r"^#+ (.+)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_readme_can_be_read_in_minutes():
    assert len(README.read_text("utf-8").split()) <= 1200


LINKED = [*prose(), *(ROOT / f"{name}.md" for name in ("CONTRIBUTING", "SECURITY", "CHANGELOG"))]


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_every_link_of_a_page_leads_somewhere(page):
    for target in LINK.findall(without_code(page)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


@pytest.mark.parametrize("page", prose(), ids=name_of)
def test_prose_is_wrapped_at_100_letters(page):
    for line in without_code(page).splitlines():
        is_prose = not re.match(r"\s*(\||!\[|#|<)", line) and len(line.split()) > 1
        assert len(line) <= 100 or not is_prose, line


def test_every_page_is_in_the_navigation_once():
    def files(entry):
        if isinstance(entry, str):
            return [entry]
        parts = entry.values() if isinstance(entry, dict) else entry
        return [file for part in parts for file in files(part)]

    listed = files(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"])
    assert sorted(listed) == [page.relative_to(DOCS).as_posix() for page in PAGES]


def test_the_reference_says_what_the_code_says():
    command = [sys.executable, DOCS / "generate.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_site_is_built_without_a_warning_and_asks_no_other_host(tmp_path):
    pytest.importorskip("zensical", reason="needs the extra `docs`")
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(PAGES)  # 404
    for page in pages:
        for tag in re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", page.read_text()):
            for target in re.findall(r"""(?:src|href|srcset)=["']?([^"'\s>]+)""", tag):
                assert not re.match(r"(?:https?:)?//", target) or "canonical" in tag, tag
    for sheet in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", sheet.read_text())


def leaves(group, path=("nasnet",)):
    """The commands of a group and of those in it, by their words."""
    context = group.context_class(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if hasattr(command, "list_commands"):
            yield from leaves(command, (*path, name))
        else:
            yield (*path, name), command


ALL = list(leaves(typer.main.get_command(app)))


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _ in ALL])
def test_every_command_has_help_and_is_used_on_a_page(path, command):
    assert command.help
    words = " ".join(path)
    assert any(re.search(rf"(?:^|[/ ]){words}\b", one) for one in commands())


def tables(page):
    return [tomllib.loads(block) for block in TOML.findall(page.read_text("utf-8"))]


CONFIGURED = [page for page in prose() if tables(page)]


@pytest.mark.parametrize("page", CONFIGURED, ids=name_of)
def test_every_configuration_on_a_page_is_one(page):
    """Parts of one, too, which are read beside a preset's keys."""
    for found in tables(page):
        base = {} if found.get("controller", {}).get("name") else read_preset("digits")
        make_config(merge(base, found))


def test_every_row_of_the_table_of_faults_names_a_test_that_there_is():
    text = (DOCS / "explanation" / "faults.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if "| `test_" in line]
    assert len(rows) > 20
    source = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for row in rows:
        [name] = re.findall(r"`(test_\w+)`", row)
        assert f"def {name}(" in source, name


def test_every_test_that_security_names_is_there():
    text = (ROOT / "SECURITY.md").read_text("utf-8")
    named = re.findall(r"`((?:[\w/]+\.py)?)(?:::(test_\w+))?`", text)
    named = [(file, name) for file, name in named if file or name]
    assert len(named) > 40
    where = ""
    for file, name in named:
        where = file or where  # "::test_..." is one more of the file before it
        source = (ROOT / "tests" / where).read_text("utf-8")
        assert f"def {name}(" in source or not name, (where, name)
