"""A store in a notebook: what it hands out is what the rows say."""

import ast
import os
import shutil
from pathlib import Path

import pytest
import torch

from db.reads import ranking
from db.schema.session import make_engine, transaction, using
from pipeline.actions.figures import FIGURES
from pipeline.errors import UserError
from tests.factories import EVIL, fill_search, make_search, make_version
from tests.pipeline.dashboard.test_dashboard import Elements

notebook = pytest.importorskip("pipeline.notebook")
CONFIG = pytest.importorskip("pipeline.plots").CONFIG
MIME = "application/vnd.plotly.v1+json"


@pytest.fixture
def search(store):
    fill_search()
    return notebook.open_store().search("digits")


def test_a_frame_of_genotypes_is_the_ranked_list(search):
    frame = search.genotypes(uses=["sep_conv_3x3"], place="normal", min_reward=0.2, sort="macs")
    with transaction(read_only=True) as connection:
        wanted = ranking.Filter(
            uses=("sep_conv_3x3",),
            cell=notebook.CellScope.NORMAL,
            min_reward=0.2,
        )
        rows = ranking.ranked(connection, search.id, wanted, order=notebook.Order.MACS, limit=1000)
    assert frame.digest.to_list() == [row.digest for row in rows]
    assert frame.reward.to_list() == [row.reward for row in rows]
    assert len(frame) > 3


def test_frames_are_polars_where_asked_for(search):
    polars = pytest.importorskip("polars")
    frame = notebook.open_store(frames="polars").search("digits").genotypes()
    assert isinstance(frame, polars.DataFrame)
    assert frame["digest"].to_list() == search.genotypes().digest.to_list()


def test_a_query_is_a_frame_and_only_reads(search):
    frame = search.store.query("SELECT outcome, message FROM failures")
    assert set(frame.outcome) == {"failed"}
    assert set(frame.message) == {EVIL}
    with pytest.raises(UserError):
        search.store.query("DELETE FROM searches")
    assert search.store.searches().name.to_list() == ["digits"]


def test_every_figure_can_be_plotted(search):
    for name in FIGURES:
        assert search.plot(name).to_json()
    with pytest.raises(UserError, match="no figure 'other'"):
        search.plot("other")
    plots = [name for name in dir(search) if name.startswith("plot_")]
    assert len(plots) == 8  # those that had a method before ``plot`` had all
    for name in plots:
        assert getattr(search, name)().to_json()
    assert search.plot_accuracy("macs").to_json() != search.plot_accuracy().to_json()


def test_a_genotype_is_drawn_and_becomes_a_network(search):
    best = search.best(3)
    assert [found.digest for found in best] == search.genotypes(limit=3).digest.to_list()
    assert Elements(best[0]._repr_svg_()).tags[0] == "svg"
    found = search.store.genotype(best[0].digest[:10])
    assert found.digest == best[0].digest
    network = found.network(untrained=True, image_shape=(1, 8, 8), num_cells=1, num_filters=4)
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    with pytest.raises(UserError, match="num_cells"):
        found.network(untrained=True, num_cells=-1)
    for odd in ({"classes": 0}, {"classes": 2.5}, {"image_shape": (3, 16)},
                {"image_shape": (3, -16, 16)}):  # fmt: skip
        with pytest.raises(UserError, match=f"{next(iter(odd))} .* expected"):
            found.network(untrained=True, **odd)
    with pytest.raises(UserError, match=r"weights.*untrained=True"):
        found.network()
    with pytest.raises(UserError, match=r"not kept.*retrain digits --top 1.*untrained"):
        best[0].network()
    with pytest.raises(UserError, match="none in this store"):
        search.store.genotype("ffffffffff")


def test_a_search_s_best_is_its_own_network_with_its_weights(searched):
    best = notebook.open_store().search("digits").best(2)[1]
    [row] = notebook.open_store().search("digits").genotypes(limit=2)[1:].itertuples()
    network = best.network()
    assert sum(parameter.numel() for parameter in network.parameters()) == row.parameters
    random = best.network(untrained=True)
    assert network.state_dict().keys() == random.state_dict().keys()
    assert not torch.equal(network.classifier.weight, random.classifier.weight)
    with pytest.raises(UserError, match="one size"):
        best.network(num_cells=2)
    wider = best.network(untrained=True, num_cells=2)
    assert sum(parameter.numel() for parameter in wider.parameters()) > row.parameters


def test_another_home_may_be_opened_and_one_without_a_store_is_refused(sqlite_store, tmp_path):
    assert len(notebook.open_store(sqlite_store.parent).searches()) == 0
    with pytest.raises(UserError, match="no store"):
        notebook.open_store(tmp_path / "nowhere")


def test_stores_that_are_open_at_once_are_independent_and_a_refused_one_breaks_none(
    sqlite_template, tmp_path, home, monkeypatch
):
    stores = {}
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        shutil.copy(sqlite_template, tmp_path / name / "nasnet.db")
        with using(make_engine(f"sqlite:///{tmp_path}/{name}/nasnet.db")):
            make_version(make_search(name))
        stores[name] = notebook.open_store(tmp_path / name)
    searches = {name: store.search(name) for name, store in stores.items()}
    before = dict(os.environ)
    with pytest.raises(UserError, match="no store"):
        notebook.open_store(tmp_path / "nowhere")
    assert dict(os.environ) == before
    with pytest.raises(UserError, match="no store"):
        notebook.open_store()  # of the environment's home, which is another
    for name, store in stores.items():
        assert store.searches().name.to_list() == [name]
        assert store.query("SELECT name FROM searches").name.to_list() == [name]
        assert searches[name].plot_history().to_json()
        assert searches[name].best() == []
    both = [store.search(name) for name, store in reversed(stores.items())]
    assert [search.store.searches().name.to_list() for search in both] == [["second"], ["first"]]


def test_a_home_that_is_named_is_opened_whatever_database_the_environment_names(
    sqlite_store, monkeypatch
):
    monkeypatch.setenv("NASNET_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    assert len(notebook.open_store(sqlite_store.parent).searches()) == 0
    with pytest.raises(UserError, match=r"open_store\(\) opens the database's"):
        notebook.open_store(sqlite_store.parent / "nowhere")


NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"


@pytest.fixture
def page():
    """The documentation's notebook, as it is committed."""
    return pytest.importorskip("nbformat").read(NOTEBOOK, as_version=4)


def test_the_documented_notebook_was_executed_and_is_small(page):
    cells = [cell for cell in page.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell.outputs for cell in cells)
    assert not any(out.output_type == "error" for cell in cells for out in cell.outputs)
    assert NOTEBOOK.stat().st_size < 300_000


def test_no_figure_of_the_documented_notebook_offers_an_upload(page):
    outputs = [out for cell in page.cells for out in cell.get("outputs", ())]
    figures = [out.data[MIME] for out in outputs if MIME in out.get("data", {})]
    assert len(figures) >= 4
    for figure in figures:
        assert figure["config"] == CONFIG
        assert figure["layout"]["template"]["layout"]["modebar"]["remove"] == ["sendChartToCloud"]


def test_every_cell_of_the_documented_notebook_runs(searched, page):
    """On a real search of either database; what a cell shows can be shown, and was committed."""
    names = {}
    for cell in page.cells:
        if cell.cell_type != "code":
            continue
        body = ast.parse(cell.source).body
        *before, last = body
        assert isinstance(last, ast.Expr)
        exec(compile(ast.Module(before, []), "<cell>", "exec"), names)
        shown = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)
        [output] = cell.outputs
        assert _kinds(shown) & output.data.keys(), cell.source


def _kinds(shown):
    """The kinds of picture that a notebook asks a value for, where it is more than text."""
    kinds = {"text/html": "_repr_html_", "image/svg+xml": "_repr_svg_"}
    found = {kind for kind, name in kinds.items() if hasattr(shown, name)}
    if hasattr(shown, "to_plotly_json"):
        found.add("application/vnd.plotly.v1+json")
    return found or {"text/plain"}
