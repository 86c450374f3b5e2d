"""The pages of the documentation, and the commands on them."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
EXAMPLES = ROOT / "examples" / "README.md"
GENERATED = {"commands", "configuration", "http-api", "presets", "settings", "tables"}
PAGES = sorted(DOCS.rglob("*.md"))
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def name_of(page):
    """A page's path, as people say it."""
    return page.relative_to(ROOT).as_posix()


def prose():
    """The pages that people wrote."""
    written = [page for page in PAGES if page.stem not in GENERATED]
    return [README, EXAMPLES, *written]


def commands():
    """Every command of every page, without its comment, with the pages that have it."""
    found = {}
    for page in (README, EXAMPLES, *PAGES):
        for block in BLOCK.findall(page.read_text("utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                for part in line.split("&&"):
                    words = shlex.split(part, comments=True)
                    if words:
                        found.setdefault(shlex.join(words), []).append(name_of(page))
    return found
