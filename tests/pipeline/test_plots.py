"""Figures: what they show, what they must not, and that each survives its journey as JSON."""

import datetime as dt
import json
import math
import random
import subprocess
import sys
import webbrowser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import plotly.graph_objects as go
import plotly.io
import pytest

from pipeline.plots import (
    CONFIG,
    Curve,
    Figure,
    GrowingHistory,
    History,
    Hold,
    OperationShare,
    Point,
    Running,
    Standing,
    VersionHealth,
    accuracy_against,
    decision_probabilities,
    escaped,
    failures_by_class,
    learning_curves,
    operation_use,
    pareto_front,
    policy_health,
    reward_history,
    template,
    themed,
    worker_timeline,
)
from pipeline.plots.figure import MIME
from pipeline.plots.theme import COLOURS

NOON = dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)


def _curve(label, last=0.8, *, epochs=3):
    accuracies = [last * (n + 1) / epochs for n in range(epochs)]
    return Curve(label, range(1, epochs + 1), accuracies, accuracies, [None] * epochs)


def _hold(label="child 1", outcome="done", *, slot="host:cpu:0", ended=NOON):
    return Hold(slot, NOON - MINUTE, ended, outcome, label)


def _figures(label):
    """Each figure, with a user's text in every place that takes one."""
    return {
        "reward_history": reward_history([History.of(label, [0.1, None, 0.3])]),
        "learning_curves": learning_curves([_curve(label), _curve("another")]),
        "many learning_curves": learning_curves([_curve(label)] * 13),
        "policy_health": policy_health([VersionHealth(version=1, entropy=3.0, duplicates=0)]),
        "decision_probabilities": decision_probabilities(
            [1, 2], [[[0.5, 0.5]], [[0.1, 0.9]]], [(label, (label, "add"))]
        ),
        "accuracy_against": accuracy_against([Point(label, 0.5, 1000, 9000, label)]),
        "operation_use": operation_use([OperationShare(label, label, 0.5)]),
        "worker_timeline": worker_timeline([_hold(label, label, slot=label)], now=NOON),
        "failures_by_class": failures_by_class({label: 3}, {label: 1}),
    }


EMPTY = {
    "reward_history": (reward_history([]), "children"),
    "reward_history of an arm": (reward_history([History.of("policy", [])]), "children"),
    "reward_history of no reward": (reward_history([History.of("policy", [None])]), "children"),
    "learning_curves": (learning_curves([]), "epochs"),
    "learning_curves of a run": (
        learning_curves([Curve("a", [1], [None], [0.1], [2.0])]),
        "epochs",
    ),
    "policy_health": (policy_health([]), "version"),
    "policy_health of nothing": (policy_health([VersionHealth(version=1)]), "version"),
    "decision_probabilities": (decision_probabilities([], [], []), "version"),
    "decision_probabilities of none": (
        decision_probabilities([0], [None], [("combine", ("add", "concat"))]),
        "version",
    ),
    "accuracy_against": (accuracy_against([]), "network"),
    "accuracy_against of no size": (
        accuracy_against([Point("a", 0.5, 1000, None, "policy")], "macs"),
        "network",
    ),
    "operation_use": (operation_use([]), "children"),
    "worker_timeline": (worker_timeline([], now=NOON), "slot"),
    "failures_by_class": (failures_by_class({}), "failed"),
    "failures_by_class of none": (failures_by_class({"oom": 0}, {"oom": 0}), "failed"),
}
FIGURES = _figures("digits")


def _means(rewards):
    """By brute force."""
    best = sorted((r for r in rewards if r is not None), reverse=True)
    if not best:
        return Standing(None, None, None)
    return Standing(best[0], *(math.fsum(best[:n]) / len(best[:n]) for n in (5, 25)))


def _stream(seed, length=200):
    """Rewards with gaps and with equals among them."""
    source = random.Random(seed)
    return [None if source.random() < 0.1 else round(source.random(), 2) for _ in range(length)]


def _texts(value):
    """Every string of a figure's JSON."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in _texts(part)]


def _drawn(figure):
    return json.loads(figure.to_json())


@pytest.mark.parametrize("seed", range(5))
def test_standing_is_what_sorting_all_rewards_gives(seed):
    rewards = _stream(seed)
    running = Running()
    for n, reward in enumerate(rewards, start=1):
        assert running.add(reward) == pytest.approx(_means(rewards[:n]))


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 200])
def test_a_history_that_grows_is_every_nth_point_of_the_whole_and_its_last(length):
    rewards = _stream(length, length)
    growing = GrowingHistory("policy", most=4)
    for reward in rewards:
        growing.add(reward)
    found, whole = growing.history(), History.of("policy", rewards)
    assert len(found.at) <= 9
    assert not rewards or found.at[-1] == length
    assert len(set(np.diff(found.at[:-1]))) <= 1
    for name in ("reward", "best", "top5", "top25"):
        at = [getattr(whole, name)[n - 1] for n in found.at]
        assert list(getattr(found, name)) == at


@pytest.mark.parametrize("seed", range(5))
def test_no_standing_falls_once_there_are_as_many_rewards(seed):
    rewards = [r for r in _stream(seed) if r is not None]
    running = Running()
    standings = [running.add(reward) for reward in rewards]
    for name, first in (("best", 1), ("top5", 5), ("top25", 25)):
        values = [getattr(standing, name) for standing in standings[first - 1 :]]
        assert values == sorted(values)


@pytest.mark.parametrize("cut", [0, 1, 4, 24, 25, 26, 199])
def test_running_goes_on_where_it_stood_as_if_it_had_never_stopped(cut):
    rewards = _stream(1)
    unbroken, before = Running(), Running()
    expected = [unbroken.add(reward) for reward in rewards]
    for reward in rewards[:cut]:
        before.add(reward)
    after = Running(before.top)
    assert [after.add(reward) for reward in rewards[cut:]] == expected[cut:]
    assert after.top == unbroken.top


def test_reward_that_is_none_or_not_finite_moves_no_standing():
    running = Running([0.5])
    for reward in (None, math.nan, math.inf):
        assert running.add(reward) == (0.5, 0.5, 0.5)
    assert running.top == (0.5,)


def test_best_so_far_is_drawn_as_steps_and_never_falls():
    figure = reward_history([History.of("policy", _stream(2))])
    (best,) = (trace for trace in figure.data if trace.name == "best so far")
    assert best.line.shape == "hv"
    assert list(best.y) == sorted(best.y)


def test_reward_of_none_does_not_appear():
    figure = reward_history([History.of("policy", [None, 0.25, None, 0.5])])
    (markers,) = (trace for trace in figure.data if trace.mode == "markers")
    assert (list(markers.x), list(markers.y)) == ([2, 4], [0.25, 0.5])
    assert all(None not in trace.y for trace in figure.data)


def test_control_is_drawn_in_one_grey_and_the_policy_is_not():
    figure = reward_history([History.of(arm, [0.1, 0.2]) for arm in ("policy", "control")])
    colours = {
        group: {t.line.color or t.marker.color for t in figure.data if t.legendgroup == group}
        for group in ("policy", "control")
    }
    assert {len(found) for found in colours.values()} == {1}
    assert _chroma(*colours["control"]) < 0.1 < _chroma(*colours["policy"])


def test_failed_children_far_below_are_counted_in_a_note_and_do_not_flatten_the_others():
    rewards = [0.0] + [0.7 + n / 1000 for n in range(50)]
    figure = reward_history([History.of("policy", rewards)])
    assert figure.layout.yaxis.range[0] > 0.5
    assert ": 1 (" in figure.layout.title.subtitle.text
    assert 0.0 in next(trace for trace in figure.data if trace.mode == "markers").y
    near = reward_history([History.of("policy", rewards[1:])])
    assert near.layout.yaxis.range is None
    assert not near.layout.title.subtitle.text


@pytest.mark.parametrize(("number", "named"), [(1, True), (12, True), (13, False)])
def test_learning_curves_have_a_legend_up_to_twelve_runs(number, named):
    figure = learning_curves([_curve(f"run {n}") for n in range(number)])
    assert figure.layout.showlegend is named
    looks = {(trace.line.color, trace.line.dash) for trace in figure.data}
    assert len(looks) == len(figure.data) or not named


def test_single_run_shows_its_training_accuracy_where_it_has_one():
    assert [t.name for t in learning_curves([_curve("a")]).data] == ["a", "on training images"]
    assert len(learning_curves([Curve("a", [1], [0.5], [None], [None])]).data) == 1
    assert len(learning_curves([_curve("a"), _curve("b")]).data) == 2


def test_best_of_many_learning_curves_is_drawn_last_and_named_in_the_note():
    figure = learning_curves([_curve(f"run {n}", last=0.9 - n / 100) for n in range(20)])
    assert figure.data[-1].name == "run 0"
    assert "run 0" in figure.layout.title.subtitle.text


def test_health_has_a_panel_for_what_was_reported_and_names_the_rest():
    figure = policy_health([VersionHealth(version=n, entropy=70.0 - n) for n in range(3)])
    (trace,) = figure.data
    assert list(trace.y) == [70.0, 69.0, 68.0]
    for word in ("KL", "clip fraction", "baseline", "mean reward", "staleness", "duplicates"):
        assert word in figure.layout.title.subtitle.text


@pytest.mark.parametrize("number", [1, 3, 4, 5, 40])
def test_each_decision_has_a_panel_with_its_name_and_readable_rows(number):
    decisions = [(f"decision {n}", [f"choice {c}" for c in range(13)]) for n in range(number)]
    table = [[1 / 13] * 13] * number
    figure = decision_probabilities([0, 1], [table, table], decisions)
    assert len(figure.data) == number
    assert [note.text for note in figure.layout.annotations] == [name for name, _ in decisions]
    for trace in figure.data:
        axis = figure.layout["yaxis" + trace.yaxis[1:]]
        start, end = axis.domain
        inside = figure.layout.height - figure.layout.margin.t - figure.layout.margin.b
        assert (end - start) * inside / 13 > 12  # pixels
        assert 0 <= start < end <= 1


def test_probabilities_of_many_versions_are_thinned_but_keep_both_ends():
    tables = [[[n / 999, 1 - n / 999]] for n in range(1000)]
    figure = decision_probabilities(range(1000), tables, [("combine", ("add", "concat"))])
    (trace,) = figure.data
    assert len(trace.x) < 200
    assert (trace.x[0], trace.x[-1]) == (0, 999)
    assert list(trace.x) == sorted(set(trace.x))
    for version, add, concat in zip(trace.x, *trace.z, strict=True):
        assert [add, concat] == pytest.approx(tables[version][0], abs=0.001)


def _beats(a, b):
    return (
        a.parameters <= b.parameters
        and a.accuracy >= b.accuracy
        and (a.parameters, a.accuracy) != (b.parameters, b.accuracy)
    )


@pytest.mark.parametrize("seed", range(20))
def test_front_is_exactly_what_no_point_beats(seed):
    source = random.Random(seed)
    points = [
        Point(str(n), source.randrange(9) / 10, source.randrange(1, 9), None, "policy")
        for n in range(source.randrange(40))
    ]
    front = pareto_front(points)
    unbeaten = [p for p in points if not any(_beats(other, p) for other in points)]
    assert sorted(front, key=points.index) == unbeaten
    assert [p.parameters for p in front] == sorted(p.parameters for p in front)


def test_point_without_accuracy_or_size_is_neither_on_the_front_nor_drawn():
    points = [
        Point("no accuracy", None, 1, 1, "policy"),
        Point("no size", 1.0, None, None, "policy"),
        Point("whole", 0.5, 2, 2, "policy"),
    ]
    for size in ("parameters", "macs"):
        assert [point.label for point in pareto_front(points, size)] == ["whole"]
        texts = _texts(_drawn(accuracy_against(points, size)))
        assert "whole" in texts
        assert not {"no accuracy", "no size"} & set(texts)


def test_operation_that_a_quantile_does_not_tell_of_is_a_gap():
    figure = operation_use(
        [
            OperationShare("worst", "identity", 0.75),
            OperationShare("worst", "conv_3x3", 0.25),
            OperationShare("best", "conv_3x3", 1.0),
        ]
    )
    assert [list(row) for row in figure.data[0].z] == [[0.75, None], [0.25, 1.0]]
    assert figure.layout.xaxis.ticktext == ("worst", "best")
    assert figure.layout.yaxis.ticktext == ("identity", "conv_3x3")


def test_bar_of_a_hold_is_as_long_as_the_hold_and_stands_at_its_time_in_utc():
    east = dt.timezone(dt.timedelta(hours=9))
    holds = [
        Hold("a", (NOON - 2 * MINUTE).astimezone(east), NOON.astimezone(east), "done", "x"),
        Hold("b", NOON - MINUTE, None, None, "y"),
        Hold("b", NOON, NOON - MINUTE, "lost", "a clock that went back"),
    ]
    done, running, lost = worker_timeline(holds, now=NOON + 9 * MINUTE).data
    assert [done.name, running.name, lost.name] == ["done", "running", "lost"]
    assert [trace.x[0] for trace in (done, running, lost)] == [120_000, 600_000, 0]
    assert done.base[0] == (NOON - 2 * MINUTE).replace(tzinfo=None)
    assert [trace.y[0] for trace in (done, running, lost)] == [0, 1, 1]


def test_outcome_is_told_by_words_and_by_pattern_not_by_colour_alone():
    outcomes = ("done", "failed", "lost", "returned")
    figure = worker_timeline([_hold(outcome=outcome) for outcome in outcomes], now=NOON)
    assert {trace.name for trace in figure.data} == set(outcomes)
    assert all(trace.name in trace.hovertext[0] for trace in figure.data)
    assert len({trace.marker.pattern.shape for trace in figure.data}) == len(outcomes)
    assert figure.layout.showlegend


def test_slots_whose_names_are_equal_once_cut_keep_a_row_each():
    holds = [_hold(slot="s" * 80 + end) for end in "ab"]
    figure = worker_timeline(holds, now=NOON)
    assert list(figure.data[0].y) == [0, 1]
    assert len(figure.layout.yaxis.ticktext) == 2


def test_failures_stand_with_the_most_common_first_and_none_without_a_count():
    figure = failures_by_class({"oom": 2, "error": 0, "lost": 7}, {"oom": 1})
    attempts, children = figure.data
    assert figure.layout.yaxis.ticktext == ("lost", "oom")
    assert (list(attempts.x), list(children.x)) == ([7, 2], [0, 1])
    assert len(failures_by_class({"oom": 2}).data) == 1


@pytest.mark.parametrize("name", EMPTY)
def test_nothing_to_draw_gives_a_figure_with_its_reason(name):
    figure, word = EMPTY[name]
    (note,) = figure.layout.annotations
    assert word in note.text
    assert not figure.data
    assert figure.layout.title.text


@pytest.mark.parametrize("name", FIGURES)
def test_figure_has_a_title_and_titles_of_its_axes(name):
    layout = FIGURES[name].layout
    titles = [axis["title"]["text"] for axis in _axes(layout) if "title" in axis]
    assert layout.title.text
    assert titles
    if name not in {"policy_health", "decision_probabilities"}:  # panels share some
        assert len(titles) == 2


def _axes(layout):
    plain = layout.to_plotly_json()
    return [plain[key] for key in plain if key.startswith(("xaxis", "yaxis"))]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", [*FIGURES, *EMPTY])
def test_figure_survives_json_and_back(name, dark):
    figure = themed(FIGURES.get(name) or EMPTY[name][0], dark)
    assert go.Figure(json.loads(figure.to_json())).to_json() == figure.to_json()


@pytest.mark.parametrize("name", FIGURES)
def test_theme_changes_the_template_alone_and_leaves_the_figure_as_it_was(name):
    figure = FIGURES[name]
    before = _drawn(figure)
    light, dark = _drawn(themed(figure, dark=False)), _drawn(themed(figure, dark=True))
    assert _drawn(figure) == light == before
    assert light["layout"].pop("template") != dark["layout"].pop("template")
    assert light == dark


@pytest.mark.parametrize("name", FIGURES)
def test_figure_fixes_no_colour_of_text_and_no_background(name):
    figure = _drawn(FIGURES[name])
    for layout in (figure["layout"], figure["layout"]["template"]["layout"]):
        assert layout.get("paper_bgcolor", "rgba(0,0,0,0)") == "rgba(0,0,0,0)"
        assert layout.get("plot_bgcolor", "rgba(0,0,0,0)") == "rgba(0,0,0,0)"
    del figure["layout"]["template"]
    assert '"font": {"color"' not in json.dumps(figure)


def _channels(colour):
    return [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]


def _chroma(colour):
    return max(_channels(colour)) - min(_channels(colour))


def _contrast(one, other):
    """As WCAG 2 defines it."""

    def luminance(colour):
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in _channels(colour)
        ]
        return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("page", "dark"), [("#ffffff", False), ("#14171c", True)])
def test_colours_and_text_stand_out_from_a_white_and_from_a_dark_page(page, dark):
    assert min(_contrast(colour, page) for colour in COLOURS) >= 3
    assert _contrast(template(dark).layout.font.color, page) >= 7


@pytest.mark.parametrize(
    "label",
    [
        "<script>alert(1)</script>",
        '<a href="javascript:alert(1)">best</a>',
        "<b>bold</b> & <i>more</i>",
        "$\\href{javascript:alert(1)}{x}$",
        "%{customdata}",
    ],
)
def test_text_from_a_user_arrives_escaped_wherever_it_enters(label):
    plain = _figures("digits")
    for name, figure in _figures(label).items():
        texts = _texts(_drawn(figure))
        joined = "\n".join(texts)
        assert label not in joined
        assert not any(mark in joined for mark in ("<script", "<a ", "<b>", "<i>", "$\\href"))
        if any("digits" in text for text in _texts(_drawn(plain[name]))):
            assert escaped(label) in joined


def test_escaped_text_is_cut_before_it_is_escaped():
    assert escaped("<" * 100, length=3) == "&lt;&lt;…"
    assert escaped("two\nlines  \"and\" 'quotes'") == "two lines \"and\" 'quotes'"


def test_plots_load_no_torch_no_database_and_no_pandas():
    heavy = ["torch", "sqlalchemy", "pandas"]
    program = f"import sys, pipeline.plots; print(sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", [*FIGURES, *EMPTY])
def test_figure_that_is_shown_or_saved_names_no_site_and_offers_no_upload(name, tmp_path):
    figure = FIGURES.get(name) or EMPTY[name][0]
    figure.write_html(tmp_path / "saved.html", include_plotlyjs=False)
    for page in (
        figure.to_html(include_plotlyjs=False),
        figure.to_html({"scrollZoom": True}, include_plotlyjs=False, full_html=False),
        (tmp_path / "saved.html").read_text(),
    ):
        assert "//" not in page
        assert '"showSendToCloud": false' in page
        assert '"displaylogo": false' in page
    assert figure._repr_html_().count("<script src=") == 0
    [shown] = figure._repr_mimebundle_().values()
    assert shown["config"] == CONFIG
    assert shown["layout"]["template"]["layout"]["modebar"]["remove"] == ["sendChartToCloud"]
    assert type(themed(figure, dark=True)) is type(figure) is Figure


@pytest.mark.parametrize("usual", ["browser", "plotly_mimetype+notebook"])
def test_figure_that_is_shown_loads_nothing_from_another_site(usual, monkeypatch):
    """Plotly's own pages load MathJax from one."""
    pages = []
    monkeypatch.setattr(plotly.io.renderers, "default", usual)
    monkeypatch.setattr(webbrowser, "open", pages.append)
    notebook = SimpleNamespace(display=lambda bundle, raw: pages.append(bundle))
    monkeypatch.setattr(plotly.io._renderers, "ipython_display", notebook)
    FIGURES["reward_history"].show()
    [page] = pages
    if usual == "browser":
        path = Path(page.removeprefix("file://"))
        assert "<script src=" not in path.read_text()
        path.unlink()
    else:
        assert page[MIME]["config"] == CONFIG
        assert page.keys() == {MIME}
