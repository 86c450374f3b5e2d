"""A budget that is below what is done is refused, by whatever command it is asked for."""

import pytest
from sqlalchemy import text

from db.schema.session import transaction
from pipeline.actions.searches import open_search, read_request
from pipeline.errors import UserError
from tasks import steering
from tests.factories import fill_search, make_search

SPENT = {
    "children": (3, 99),
    "hours": (0.5, 48.0),
    "device_hours": (0.25, 100.0),
    "target_reward": (0.5, 1.0),
    "plateau": (1, 90),
}


@pytest.fixture
def search(store, monkeypatch):
    """A search of an hour, with rewards, attempts that took an hour, and no data to look at."""
    monkeypatch.setattr("pipeline.actions.searches.check_data", lambda _config: None)
    fill_search("digits")
    ago = "datetime('now', '-1 hour')" if store == "sqlite" else "now() - interval '1 hour'"
    with transaction() as connection:
        connection.execute(text(f"UPDATE searches SET created_at = {ago}"))
        connection.execute(text(f"UPDATE attempts SET started_at = {ago}"))


def extend(key, value):
    steering.extend("digits", {key: value})


def run(key, value):
    open_search(read_request("mine.toml", "digits", [f"budget.{key}={value}"]), resume=True)


@pytest.mark.parametrize("ask", [extend, run])
def test_a_budget_below_what_is_done_is_refused(search, tmp_path, monkeypatch, ask):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text("mode = 'rolling'\n")
    for key, (low, high) in SPENT.items():
        with pytest.raises(UserError) as error:
            ask(key, low)
        if (ask, key) != (extend, "children"):  # a budget, which is no less than what is done
            assert str(error.value).startswith(f"budget.{key} = {low:g} is spent: ")
            assert "`nasnet search stop digits`" in str(error.value)
        if (ask, key) != (extend, "children"):
            ask(key, high)


def test_a_budget_that_nobody_changed_is_not_looked_at(search, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text("budget.children = 100\n")
    assert open_search(read_request("mine.toml", "digits", None), resume=True).changed == ()


def test_a_search_without_a_child_may_have_any_budget(store):
    make_search("digits")
    steering.extend("digits", {"target_reward": 0.1})
