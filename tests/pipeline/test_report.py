"""A report is one file that needs nothing else, and in which texts are texts."""

import base64
import hashlib
import html
import json
import re

import pytest

from db.schema.session import transaction
from pipeline.actions.figures import FIGURES
from pipeline.errors import UserError
from tests.factories import EVIL, fill_search, make_search
from tests.pipeline.dashboard.test_dashboard import Elements

make_report = pytest.importorskip("pipeline.report").make_report


def report(name="digits"):
    with transaction(read_only=True) as connection:
        return make_report(connection, name)


def test_a_report_has_every_figure_and_the_best_genotypes_and_asks_no_other_site(store):
    fill_search()
    text = report()
    found = Elements(text)
    assert found.tags.count("script") == 2  # Plotly's, and the figures
    assert found.tags.count("svg") == 3
    assert not {"src", "href", "onerror"} & set(found.attributes)
    [figures] = re.findall(r"const figures = (.*), themes = {", text)
    assert json.loads(figures).keys() == FIGURES.keys()
    assert EVIL not in text


def test_a_report_runs_its_own_scripts_alone_and_may_load_nothing(sqlite_store):
    make_search("digits")
    text = report()
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    rules = dict(rule.strip().split(" ", 1) for rule in html.unescape(policy).split(";"))
    allowed = [
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    ]
    assert rules == {
        "default-src": "'none'",
        "script-src": " ".join(allowed),
        "style-src": "'unsafe-inline'",
        "img-src": "data: blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_a_search_without_children_has_a_report_too(sqlite_store):
    make_search("digits")
    assert "None has a reward yet" in report()
    with pytest.raises(UserError, match="no search 'other'"):
        report("other")
