"""Commands that make the same thing at one moment: one makes it, the others find it made."""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from db.lifecycle import searches
from db.schema.session import transaction
from pipeline.dashboard.access import _own_token
from pipeline.settings import Settings
from pipeline.spaces.cells.published import NASNET_A
from tests.factories import make_search
from tests.processes import TINY, Home

AT_ONCE = 5
SMALL = ["--set=budget.children=1", "--set=training.epochs=1", "--name=five"]


@pytest.fixture(params=["sqlite", "postgresql"])
def new_home(request, tmp_path):
    """A home whose store is still to be made."""
    settings = {}
    if request.param == "postgresql":
        settings["database_url"] = request.getfixturevalue("postgres_url").replace("+psycopg", "")
    home = Home(tmp_path / "new", **settings)
    home.folder.rmdir()
    home.folder = tmp_path / "new"
    yield home
    home.folder.mkdir(exist_ok=True)
    home.close()


def at_once(home, *arguments, cwd):
    """``AT_ONCE`` processes of a command, started at one moment; what each printed."""
    processes = [
        subprocess.Popen(
            [*home.command, *arguments],
            env=home.environment,
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(AT_ONCE)
    ]
    done = [(*process.communicate(timeout=240), process.returncode) for process in processes]
    assert [(error, code) for _, error, code in done] == [("", 0)] * AT_ONCE
    return [output for output, _, _ in done]


@pytest.mark.slow
def test_one_search_run_five_times_at_one_moment_is_created_once_and_watched_by_all(
    new_home, tmp_path
):
    (tmp_path / "tiny.toml").write_text(TINY)
    outputs = at_once(new_home, "run", "tiny.toml", *SMALL, cwd=tmp_path)
    events = [[json.loads(line) for line in output.splitlines()] for output in outputs]
    assert sorted(found[0]["event"] for found in events) == ["created", *["resumed"] * 4]
    assert all(found[-1]["event"] == "finished" for found in events)


@pytest.mark.slow
def test_a_store_upgraded_five_times_at_one_moment_is_made_once(new_home, tmp_path):
    outputs = at_once(new_home, "db", "upgrade", cwd=tmp_path)
    assert sum(output.startswith("upgraded") for output in outputs) == 1
    assert new_home.nasnet("db", "check").stdout.endswith("sound\n")


def test_a_genotype_imported_five_times_at_one_moment_is_there_once(new_home, tmp_path):
    (tmp_path / "cell.json").write_text(NASNET_A.to_json())
    at_once(new_home, "genotype", "import", "cell.json", cwd=tmp_path)
    assert new_home.rows("SELECT count(*) FROM genotypes")[0][0] == 1


@pytest.mark.slow
def test_a_search_imported_five_times_at_one_moment_is_added_once(new_home, tmp_path):
    file = tmp_path / "search.jsonl"
    (tmp_path / "tiny.toml").write_text(TINY)
    other = Home(tmp_path / "other")
    other.nasnet("search", "create", str(tmp_path / "tiny.toml"))
    other.nasnet("search", "export", "tiny", "--out", str(file))
    outputs = at_once(new_home, "search", "import", str(file), "--json", cwd=tmp_path)
    assert sorted(json.loads(output)["added"] for output in outputs) == [False] * 4 + [True]


@pytest.mark.slow
def test_a_training_asked_for_five_times_at_one_moment_is_one_run(new_home, tmp_path):
    recipe = ["--set=training.epochs=1", "--set=network.auxiliary=false"]
    outputs = at_once(
        new_home,
        *(
            "transfer",
            "nasnet-a",
            "--dataset=digits",
            "--preset=digits",
            *recipe,
            "--cells=1",
            "--filters=2",
        ),
        cwd=tmp_path,
    )
    asked = [json.loads(output.splitlines()[0])["runs"] for output in outputs]
    assert asked == [asked[0]] * AT_ONCE
    assert new_home.rows("SELECT count(*) FROM runs")[0][0] == 1


def test_a_name_that_another_command_has_just_taken_is_no_error_of_the_database(store):
    make_search("five")
    with transaction() as connection:
        assert searches.create(connection, "five", {}) is None


def test_a_dashboard_s_token_is_made_once(home):
    with ThreadPoolExecutor() as pool:
        tokens = list(pool.map(_own_token, [Settings(home=home)] * 8))
    assert len(set(tokens)) == 1
    assert len(tokens[0]) >= 16
