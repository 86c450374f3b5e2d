"""The dashboard's pages and JSON, asked over HTTP in this process; browsers: test_browser."""

import csv
import socket
from html.parser import HTMLParser

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select

from db.lifecycle import searches
from db.reads import ranking
from db.schema.models import Child, Genotype, Search
from db.schema.session import transaction
from pipeline.actions.figures import FIGURES
from pipeline.dashboard.access import make_access
from pipeline.dashboard.app import make_app
from pipeline.dashboard.server import Server
from pipeline.errors import UserError
from pipeline.settings import get_settings
from tests.factories import EVIL, fill_search, make_search

TestClient = pytest.importorskip("fastapi.testclient").TestClient


def client_of(host="127.0.0.1"):
    app = make_app(make_access(get_settings(), host))
    return TestClient(app, base_url=f"http://{host}", follow_redirects=False)


@pytest.fixture
def client(store):
    """A dashboard of a filled store, on loopback."""
    fill_search()
    return client_of()


@pytest.fixture
def signed_in(client):
    """The same, by somebody who has signed in; and the form's secret."""
    token = (get_settings().home / "dashboard.token").read_text().strip()
    assert client.post("/signin", data={"token": token}).status_code == 303
    access = client.app.state.access
    return client, access.csrf(client.cookies[access.cookie])


def digests():
    with transaction(read_only=True) as connection:
        return list(connection.scalars(select(Genotype.digest).order_by(Genotype.id)))


def state():
    with transaction(read_only=True) as connection:
        return connection.scalar(select(Search.state)).value


class Elements(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]


def pages():
    first, second, *_ = digests()
    search = "/searches/digits"
    return [
        *("/", search, f"{search}/genotypes", "/workers", "/failures", "/compare", "/signin"),
        f"/genotypes/{first}",
        f"/compare?a={first[:12]}&b={second[:12]}",
        "/failures?search=digits&failure=diverged",
        f"{search}/genotypes?uses=sep_conv_3x3&place=normal&sort=parameters&min_reward=0.1&max_macs=",
    ]


def test_every_page_opens_and_shows_markup_in_texts_as_text(client):
    for address in pages():
        answer = client.get(address)
        assert answer.status_code == 200, address
        found = Elements(answer.text)
        scripts = found.tags.count("script")  # Plotly's and ours, both files
        assert scripts == 2 or (scripts == 0 and "figure" not in found.tags), address
        assert "onerror" not in found.attributes, address
        assert EVIL not in answer.text
    assert "&lt;script&gt;alert(1)" in client.get("/failures").text


def test_every_figure_is_plotly_s_json_without_markup(client):
    for name in FIGURES:
        figure = client.get(f"/searches/digits/figures/{name}.json")
        assert figure.status_code == 200, name
        empty = name in {"curves", "policy", "probabilities"}  # no epoch, no update here
        assert bool(figure.json()["data"]) is not empty, name
        assert "<script" not in figure.text
        assert "<img" not in figure.text
    assert client.get("/static/themes.json").json().keys() == {"light", "dark", "options"}


def test_no_page_takes_anything_from_another_site(client):
    for address in pages():
        answer = client.get(address)
        assert "//" not in answer.text.replace("http://www.w3.org/", ""), address
        assert "script-src" not in answer.headers["content-security-policy"]
        assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_plotly_is_told_nowhere_to_send_a_figure_to(client):
    """Its bar otherwise has "Share chart...", and a logo that leads to the company's site."""
    themes = client.get("/static/themes.json").json()
    options = themes["options"]
    assert (options["showSendToCloud"], options["displaylogo"]) == (False, False)
    assert options["plotlyServerURL"] == ""
    for mode in ("light", "dark"):
        assert themes[mode]["layout"]["modebar"]["remove"] == ["sendChartToCloud"]


def test_the_json_says_what_the_rows_say(client):
    [search] = client.get("/api/searches").json()
    with transaction(read_only=True) as connection:
        rewards = list(connection.scalars(select(Child.reward).where(Child.reward.is_not(None))))
        best = ranking.best(connection, 1, limit=1000)
    assert search["name"] == "digits"
    assert search["best"] == max(rewards)
    listed = client.get("/api/searches/digits/genotypes?limit=10000").json()
    assert [row["digest"] for row in listed] == [row.digest for row in best]
    halves = [client.get(f"/api/searches/digits/genotypes?limit=10&page={n}") for n in (1, 2)]
    assert [row for half in halves for row in half.json()] == listed[:20]
    shown = client.get(f"/api/genotypes/{best[0].digest[:10]}").json()
    assert shown["digest"] == best[0].digest
    assert client.get("/api/searches/digits").json()["config"]["control"] == 0.2
    assert {row["message"] for row in client.get("/api/failures").json()} == {EVIL}
    assert client.get("/api/workers").json()[0]["device"] == EVIL
    described = client.get("/api/openapi.json").json()["paths"]
    assert {path for path in described if not path.startswith("/api/")} == set()
    assert "/api/searches/{name}/genotypes" in described


def test_tags_and_notes_are_shown_as_text(client):
    with transaction() as connection:
        search_id = searches.get(connection, "digits").id
        searches.add_tags(connection, search_id, ["paper", "b"])
        searches.write_note(connection, search_id, EVIL)
    listed = {row["name"]: row for row in client.get("/api/searches").json()}
    assert listed["digits"]["tags"] == ["b", "paper"]
    assert listed["digits"]["note"] == EVIL
    for address in ("/", "/searches/digits"):
        page = client.get(address).text
        assert "b, paper" in page
        assert "&lt;script&gt;" in page
        assert "<script>alert" not in page


def test_the_csv_is_the_whole_filtered_list(client):
    query = "?min_reward=0.3&sort=parameters"
    rows = list(
        csv.DictReader(client.get(f"/searches/digits/genotypes.csv{query}").text.splitlines())
    )
    listed = client.get(f"/api/searches/digits/genotypes{query}&limit=10000").json()
    assert [row["digest"] for row in rows] == [row["digest"] for row in listed]
    assert [float(row["reward"]) for row in rows] == [row["reward"] for row in listed]
    assert 0 < len(rows) < len(digests())


def test_metrics_count_what_the_store_holds(client):
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }
    counts = client.get("/api/searches/digits").json()
    for key in ("done", "failed", "running", "duplicates"):
        assert samples["nasnet_children", "digits", key] == counts[key]
    assert samples["nasnet_best_reward", "digits"] == counts["best"]
    assert samples["nasnet_slots", "up"] == 1
    assert samples["nasnet_slots_busy",] == 0
    assert samples["nasnet_runs_waiting", "cpu", "1"] == counts["waiting"] > 0


@pytest.mark.parametrize(
    "address",
    [
        *("/nope", "/searches/nope", "/genotypes/nope", "/genotypes/ffffffffffff"),
        *("/searches/nope/events", "/searches/nope/genotypes.csv", "/compare?a=x&b=y"),
        *("/searches/digits/genotypes?page=0", "/searches/digits/genotypes?page=x"),
        *("/searches/digits/genotypes?sort=secret", "/searches/digits/genotypes?uses=magic"),
        *("/searches/digits/genotypes.csv?uses=magic", "/failures?search=nope"),
        *("/searches/digits/genotypes?min_reward=nan", "/searches/digits/figures/none.json"),
        *("/api/searches/nope", "/api/searches/digits/genotypes?limit=-1"),
        *("/static/../access.py", "/static/%2e%2e/access.py", "/static/%2fetc%2fpasswd"),
    ],
)
def test_what_cannot_be_asked_is_said_in_words(sqlite_store, address):
    make_search("digits")
    answer = client_of().get(address)
    assert 400 <= answer.status_code < 500
    assert answer.text


ODD = [
    *("99999999999999999999", "9" * 5000, "-1", "1e308", "-1e400", "nan", "%00", "%ff", "[]"),
    *("%ED%A0%80", "%D9%A1", "%2e%2e%2f", "' OR 1=1 --", "<b>"),
]
ASKED = [
    *("/searches/{}", "/searches/{}/events", "/searches/{}/genotypes", "/genotypes/{}"),
    *("/searches/{}/figures/rewards.json", "/searches/digits/figures/{}.json", "/static/{}"),
    *("/failures?page={}", "/failures?search={}", "/failures?failure={}", "/compare?a={}&b={}"),
    *("/searches/digits/genotypes?page={}", "/searches/digits/genotypes.csv?uses={}"),
    *("/searches/digits/genotypes?max_macs={}", "/searches/digits/genotypes?sort={}"),
    *("/api/searches/digits/genotypes?limit={}", "/api/searches/digits/genotypes?page={}"),
    *("/api/failures?offset={}", "/api/failures?limit={}", "/api/genotypes/{}"),
]


def test_nothing_odd_that_is_asked_for_breaks_it(store):
    make_search("digits")
    client = client_of()
    access = client.app.state.access
    headers = {"Authorization": f"Bearer {access.token}"}
    for odd in ODD:
        for address in ASKED:
            assert client.get(address.format(odd, odd)).status_code < 500, (address, odd[:30])
        for verb in (odd, "pause"):
            answer = client.post(f"/api/searches/{odd}/{verb}", headers=headers)
            assert 400 <= answer.status_code < 500, odd[:30]
        for key in (odd, "children", "hours"):
            data = {"key": key, "value": odd}
            answer = client.post("/searches/digits/extend", headers=headers, data=data)
            assert answer.status_code < 500, (key, odd[:30])
    assert client.get("/searches/digits").status_code == 200


def test_a_database_that_is_away_is_said_and_not_waited_for(home, monkeypatch):
    monkeypatch.setenv("NASNET_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    get_settings.cache_clear()
    client = client_of()
    for address in ("/", "/workers", "/api/searches", "/searches/digits/events", "/metrics"):
        answer = client.get(address)
        assert answer.status_code == 503, address
        assert "the database does not answer" in answer.text
    assert client.get("/signin").status_code == 200


def test_the_end_of_an_answer_does_not_wait_for_an_acknowledgement(sqlite_store):
    listening = Server(get_settings(), "127.0.0.1", 0)._socket
    with listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_two_dashboards_of_one_host_sign_nobody_out_of_the_other(sqlite_store):
    first = client_of().app.state.access
    (get_settings().home / "dashboard.token").unlink()
    assert client_of().app.state.access.cookie != first.cookie


VERBS = ("pause", "resume", "stop", "extend")


@pytest.mark.parametrize("verb", VERBS)
def test_nobody_changes_anything_without_the_token(sqlite_store, verb):
    make_search("digits")
    client = client_of()
    wrong = {"Authorization": "Bearer wrong-token-of-sixteen-letters"}
    for prefix in ("", "/api"):
        address = f"{prefix}/searches/digits/{verb}"
        assert client.post(address).status_code == 403
        assert client.post(address, headers=wrong).status_code == 403
        assert (
            client.post(
                address, headers={"Cookie": f"{client.app.state.access.cookie}={'0' * 64}"}
            ).status_code
            == 403
        )
        assert client.get(address).status_code == 405
    assert state() == "running"


def test_a_form_of_another_site_changes_nothing_though_the_browser_signed_in(signed_in):
    client, _ = signed_in
    for data in ({}, {"csrf": "0" * 64}, {"csrf": client.cookies[client.app.state.access.cookie]}):
        assert client.post("/searches/digits/pause", data=data).status_code == 403
    assert client.post("/api/searches/digits/pause").status_code == 403
    assert state() == "running"


def test_who_signed_in_pauses_resumes_extends_and_stops(signed_in):
    client, csrf = signed_in

    def post(verb, **data):
        return client.post(f"/searches/digits/{verb}", data={"csrf": csrf, **data})

    assert post("pause").headers["location"] == "/searches/digits"
    assert state() == "paused"
    assert "paused by hand" in client.get("/searches/digits").text
    post("resume")
    assert state() == "running"
    post("extend", key="children", value="150")
    assert client.get("/api/searches/digits").json()["budget"] == 150
    assert post("extend", key="children", value="many").status_code == 400
    assert post("extend", key="children", value="1").status_code == 400
    assert post("extend", key="seed", value="1").status_code == 400
    assert post("destroy").status_code == 404
    post("stop")
    assert state() == "stopping"
    post("signout")
    assert client.post("/signout", data={"csrf": csrf}).status_code == 303
    assert post("resume").status_code == 403


def test_a_program_that_sends_the_token_needs_no_form(sqlite_store):
    make_search("digits")
    client = client_of()
    token = (get_settings().home / "dashboard.token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    done = client.post("/api/searches/digits/pause", headers=headers)
    assert done.json()["done"].startswith("paused")
    budget = {"children": 77}
    client.post("/api/searches/digits/extend", headers=headers, json=budget)
    assert client.get("/api/searches/digits").json()["budget"] == 77


def test_the_token_is_its_owner_s_alone(sqlite_store):
    first = make_access(get_settings(), "localhost").token
    path = get_settings().home / "dashboard.token"
    assert path.stat().st_mode & 0o077 == 0
    assert make_access(get_settings(), "localhost").token == first
    assert client_of().post("/signin", data={"token": "wrong"}).status_code == 403


def test_an_address_that_others_reach_needs_a_token_even_to_read(sqlite_store, monkeypatch):
    make_search("digits")
    with pytest.raises(UserError, match="NASNET_TOKEN"):
        make_access(get_settings(), "0.0.0.0")
    monkeypatch.setenv("NASNET_TOKEN", "a-long-random-text-of-mine")
    get_settings.cache_clear()
    client = client_of("192.0.2.1")
    assert client.get("/").headers["location"] == "/signin"
    assert client.get("/api/searches").status_code == 401
    assert client.get("/metrics").status_code == 401
    headers = {"Authorization": "Bearer a-long-random-text-of-mine"}
    assert client.get("/api/searches", headers=headers).json()[0]["name"] == "digits"
    client.post("/signin", data={"token": "a-long-random-text-of-mine"})
    assert client.get("/").status_code == 200


def test_another_name_that_leads_to_loopback_is_refused(sqlite_store):
    make_search("digits")
    for host in ("localhost", "localhost:8642", "127.0.0.1:8642", "[::1]:8642"):
        assert client_of().get("/", headers={"Host": host}).status_code == 200, host
    for host in (
        "",
        "localhost.evil.example",
        "127.0.0.1.evil.example:80",
        "evil.example#127.0.0.1",
    ):
        assert client_of().get("/", headers={"Host": host}).status_code == 400, host
    assert client_of().get("/", headers={"Host": "evil.example"}).status_code == 400
