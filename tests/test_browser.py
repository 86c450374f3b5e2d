"""The dashboard in a real browser: headless Chromium, a real server, a filled store."""

import contextlib
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from tests.factories import EVIL, MARKUP
from tests.processes import TINY, Home, wait_until
from tests.servers import free_port

playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra `test`")
pytest.importorskip("fastapi", reason="needs the extra `dashboard`")
reward_history = pytest.importorskip("pipeline.plots").reward_history

ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
WIDTHS = (375, 1920)
FOCUSABLE = "a, button, input:not([type=hidden]), select, summary, [tabindex]"
UNNAMED = """all => all.filter(e => !(e.labels?.length || e.textContent.trim()
    || e.getAttribute('aria-label'))).map(e => e.outerHTML)"""
LIVE_VALUES = """() => [...document.querySelectorAll('[data-live]')].map(
    e => e.dataset.live + '=' + e.textContent).join(', ')"""
FILL = "from tests.factories import fill_dashboard; fill_dashboard()"


@pytest.fixture(scope="module")
def browser():
    """One browser for all tests here."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Dashboard:
    """A dashboard's process."""

    home: Home
    url: str

    @property
    def token(self):
        """What signs in."""
        return (self.home.folder / "dashboard.token").read_text().strip()


@contextlib.contextmanager
def serving(home):
    """The dashboard of a home that has a store."""
    port = free_port()
    process = home.start("dashboard", "--port", str(port))
    wait_until(lambda: _answers(port) or process.poll() is not None, what="the dashboard")
    try:
        yield Dashboard(home, f"http://127.0.0.1:{port}")
    except BaseException as error:
        error.add_note(_end(process))
        raise
    output = _end(process)
    assert "Traceback" not in output, output
    assert "ERROR" not in output, output


def _end(process):
    """End a process; returns what it printed."""
    process.terminate()
    return process.communicate(timeout=120)[0]


def _answers(port):
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory, sqlite_template):
    """The dashboard of a store with a search that rests, failures, and one named in markup."""
    home = Home(tmp_path_factory.mktemp("browser") / "home")
    shutil.copy(sqlite_template, home.folder / "nasnet.db")
    root = Path(__file__).parents[1]
    environment = {**home.environment, "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", FILL], env=environment, cwd=root, check=True)
    with serving(home) as served:
        yield served


PATIENCE = 180_000  # milliseconds: both cores may be busy with other tests


class Visit:
    """A browser page, and whatever it complained about or asked of other sites."""

    def __init__(self, browser, dashboard, *, width=1280, scheme="light"):
        self.faults = []
        self.context = browser.new_context(
            base_url=dashboard.url,
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
        )
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self._host = urlsplit(dashboard.url).netloc
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", self._dialog)
        self.page.on("request", self._asked)

    def _heard(self, message):
        if message.type in {"error", "warning"}:
            self.faults.append(message.text)

    def _dialog(self, dialog):
        self.faults.append(f"a script ran: {dialog.message}")
        dialog.dismiss()

    def _asked(self, request):
        asked = urlsplit(request.url)
        if asked.scheme not in {"data", "blob"} and asked.netloc != self._host:
            self.faults.append(f"another site was asked: {request.url}")

    def sign_in(self, dashboard):
        """Sign in with the token, by the form."""
        self.page.goto("/signin")
        self.page.get_by_label("Token").fill(dashboard.token)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/")


@pytest.fixture
def visit(browser, dashboard):
    """A function that opens a new visit; none may have had a fault at the end."""
    visits = []

    def open_one(**wanted):
        visits.append(Visit(browser, dashboard, **wanted))
        return visits[-1]

    yield open_one
    for one in visits:
        one.context.close()
    assert [one.faults for one in visits] == [[] for _ in visits]


def digests(page, count=2):
    """Of the best genotypes."""
    rows = page.request.get(f"/api/searches/digits/genotypes?limit={count}").json()
    return [row["digest"] for row in rows]


def addresses(page):
    """Every kind of page."""
    first, second = digests(page)
    search = "/searches/digits"
    return [
        *("/", search, f"{search}/genotypes", f"/searches/{quote(MARKUP, safe='')}"),
        *(f"/genotypes/{first}", f"/compare?a={first[:12]}&b={second[:12]}", "/compare"),
        *("/workers", "/failures", "/signin"),
    ]


def draw_all(page):
    """Scroll until every figure of the page has been drawn; returns how many there are."""
    figures = page.locator(".figure")
    for number in range(figures.count()):
        figures.nth(number).scroll_into_view_if_needed()
        figures.nth(number).locator("svg.main-svg").first.wait_for()
    return figures.count()


def names(page):
    """The first column's links of the list of genotypes."""
    return page.locator("tbody th a").all_inner_texts()


@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_opens_draws_and_is_no_wider_than_the_screen(visit, width):
    page = visit(width=width).page
    drawn = 0
    for address in addresses(page):
        assert page.goto(address).status == 200, address
        drawn += draw_all(page)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide == width, address
        assert page.locator("main h1").count() == 1, address
        assert page.locator(FOCUSABLE).evaluate_all(UNNAMED) == [], address
    assert drawn >= 20


def test_figures_change_between_light_and_dark_with_the_system(visit):
    page = visit(scheme="dark").page
    page.goto("/searches/digits")
    draw_all(page)
    title = page.locator(".figure .gtitle").first
    fill = "e => getComputedStyle(e).fill"
    back = "getComputedStyle(document.body).backgroundColor"
    dark = title.evaluate(fill), page.evaluate(back)
    page.emulate_media(color_scheme="light")
    page.wait_for_function(f"e => ({fill})(e) != '{dark[0]}'", arg=title.element_handle())
    assert page.evaluate(back) != dark[1]


def test_genotypes_are_filtered_sorted_and_paged_and_the_address_says_it_all(visit):
    page = visit().page
    page.goto("/searches/digits/genotypes")
    everything = names(page)
    assert len(everything) == 50
    page.get_by_role("link", name="Next").click()
    rest = names(page)
    assert rest
    assert not set(rest) & set(everything)
    page.get_by_label("Reward from").fill("0.5")
    page.get_by_label("Uses all of").select_option("sep_conv_3x3")
    page.get_by_label("In the cell").select_option("normal")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**min_reward=0.5**")
    kept = names(page)
    assert set(kept) < {*everything, *rest}
    page.get_by_role("link", name="Parameters").click()
    page.wait_for_url("**sort=parameters**")
    assert set(names(page)) == set(kept)
    assert names(page) != kept
    sorted_by = page.locator("th[aria-sort]")
    assert sorted_by.inner_text().startswith("Parameters")
    column = page.locator("tbody tr td:nth-child(5)").all_inner_texts()
    sizes = [int(text.replace(",", "")) for text in column]
    assert sizes == sorted(sizes)

    other = visit().page  # somebody else, to whom the address was sent
    other.goto(page.url)
    assert names(other) == names(page)
    assert other.get_by_label("Reward from").input_value() == "0.5"
    with other.expect_download() as download:
        other.get_by_role("link", name="CSV of all").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert [line[:12] for line in lines[1:]] == names(other)


def test_markup_in_names_messages_and_devices_is_seen_as_text(visit):
    page = visit().page
    page.goto("/")
    assert page.get_by_role("link", name=MARKUP, exact=True).is_visible()
    page.get_by_role("link", name=MARKUP, exact=True).click()
    assert page.locator("h1").inner_text().startswith(MARKUP)
    page.wait_for_function("document.querySelector('[data-live=reason]').textContent != ''")
    assert page.locator("[data-live=reason]").inner_text() == MARKUP
    draw_all(page)
    page.goto("/workers")
    assert page.get_by_role("cell", name=MARKUP).first.is_visible()
    draw_all(page)
    page.goto("/failures")
    failure = page.locator("details.failure").first
    failure.locator("summary").click()
    assert EVIL in failure.locator("summary").inner_text()
    assert EVIL in failure.locator("pre").inner_text()
    page.goto(f"/failures?search={quote(MARKUP, safe='')}")
    assert page.get_by_label("Search").input_value() == MARKUP


def test_the_keyboard_alone_reaches_the_content_and_fills_a_form(visit):
    page = visit().page
    page.goto("/compare")
    page.keyboard.press("Tab")
    skip = page.locator(":focus")
    assert skip.inner_text() == "Skip to the content"
    assert skip.bounding_box()["x"] >= 0  # it shows while it has the focus
    page.keyboard.press("Enter")
    reached = []
    for _ in range(3):
        page.keyboard.press("Tab")
        reached.append(page.locator(":focus").evaluate("e => e.name || e.textContent"))
    assert reached == ["a", "b", "Compare"]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.type("nasnet-a")
    page.keyboard.press("Tab")
    page.keyboard.type("darts-v1")
    page.keyboard.press("Enter")
    page.locator("svg.drawing").wait_for()
    page.goto("/searches/digits/genotypes")
    order = page.locator(FOCUSABLE).evaluate_all("all => all.map(e => e.tabIndex)")
    assert set(order) == {0}  # the order of the page
    outlines = []
    for _ in range(8):
        page.keyboard.press("Tab")
        outlines.append(page.locator(":focus").evaluate("e => getComputedStyle(e).outlineStyle"))
    assert set(outlines) == {"solid"}


def test_a_wide_table_scrolls_by_keyboard_where_the_screen_is_narrow(visit):
    page = visit(width=375).page
    page.goto("/searches/digits/genotypes")
    table = page.get_by_role("region", name="Genotypes")
    table.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("e => e.scrollLeft > 0", arg=table.element_handle())


def test_nothing_is_changed_by_strangers_or_by_another_site(visit, dashboard):
    stranger = visit()
    stranger.page.goto("/searches/digits")
    assert stranger.page.get_by_role("button", name="Pause").count() == 0
    assert stranger.page.request.post("/searches/digits/resume").status == 403
    stranger.page.goto("/signin")
    stranger.page.get_by_label("Token").fill("a guess of mine")
    stranger.page.get_by_role("button", name="Sign in").click()
    assert "not the token" in stranger.page.get_by_role("alert").inner_text()
    assert stranger.context.cookies() == []

    signed_in = visit()
    signed_in.sign_in(dashboard)
    [cookie] = signed_in.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    attack = f"""<form method="post" action="{dashboard.url}/searches/digits/resume">
        <input name="csrf" value="guess"></form><script>document.forms[0].submit()</script>"""
    signed_in.context.route(
        "http://other.example/",
        lambda route: route.fulfill(body=attack, content_type="text/html"),
    )
    page = signed_in.page
    with page.expect_response("**/resume") as answer:
        page.goto("http://other.example/")
    assert answer.value.status == 403
    page.goto("/searches/digits")
    assert page.locator("[data-live=status]").inner_text() == "paused"
    # what was refused is what was complained about
    refused = re.compile("403|other.example")
    for one in (stranger, signed_in):
        assert [fault for fault in one.faults if not refused.search(fault)] == []
        one.faults.clear()


def test_a_running_search_is_paused_and_resumed_and_others_see_it_live(
    browser, tmp_path, sqlite_template
):
    home = Home(tmp_path / "home", devices="cpu")
    shutil.copy(sqlite_template, home.folder / "nasnet.db")
    (home.folder / "tiny.toml").write_text(TINY)
    home.nasnet("search", "create", "tiny.toml", "--set=budget.children=500")
    home.start("up")
    try:
        with serving(home) as served:
            watcher, owner = Visit(browser, served), Visit(browser, served)
            watcher.page.goto("/searches/tiny")
            watcher.page.evaluate("window.here = true")  # gone with a reload
            owner.sign_in(served)
            owner.page.goto("/searches/tiny")
            _expect(watcher, "completed", "text != '0'")
            _press(owner, "Pause")
            _expect(watcher, "status", "text == 'paused'")
            _expect(watcher, "reason", "text == 'paused by hand'")
            _expect(watcher, "running", "text == '0'")
            done = watcher.page.locator("[data-live=completed]").inner_text()
            _press(owner, "Resume")
            _expect(watcher, "status", "text == 'running'")
            _expect(watcher, "completed", f"text != '{done}'")
            assert watcher.page.evaluate("window.here") is True
            assert watcher.faults + owner.faults == []
            for one in (watcher, owner):
                one.context.close()
    finally:
        home.close()


def leads_nowhere(page):
    """Press every button of every figure, and look where a page's links lead.

    Returns what buttons say; no other page may open, and this one may not go.
    """
    address = page.url
    said = set()
    for button in page.locator(".modebar-btn").all():
        said.add(button.get_attribute("data-title"))
        button.evaluate("e => e.click()")
    assert page.url == address
    assert len(page.context.pages) == 1
    links = page.locator("a[href], area[href], form[action]")
    places = links.evaluate_all("all => all.map(e => e.href || e.action)")
    assert [place for place in places if urlsplit(place).netloc != urlsplit(address).netloc] == []
    assert page.locator("[target], iframe, object, embed").count() == 0
    # of SVG, whose links have no text for a href
    assert page.locator("svg a").count() == 0
    return said


PLOTLY_S = {"Zoom", "Pan", "Zoom in", "Zoom out", "Autoscale", "Reset axes"}


def test_no_page_leads_to_another_site_or_offers_a_figure_to_one(visit, dashboard):
    signed_in = visit()
    signed_in.sign_in(dashboard)
    page = signed_in.page
    said = set()
    for address in addresses(page):
        page.goto(address)
        draw_all(page)
        said |= leads_nowhere(page)
    assert said > PLOTLY_S
    assert not [words for words in said if re.search(r"share|cloud|send|plotly", words, re.I)]


@pytest.fixture
def opened(browser, tmp_path):
    """A function that opens a file in a browser without a network; it may ask for nothing."""
    visits = []

    def open_file(file):
        one = Visit(browser, Dashboard(None, file.as_uri()))
        one.context.set_offline(True)
        visits.append(one)
        one.page.goto(file.as_uri())
        one.page.locator("svg.main-svg").first.wait_for()
        return one

    yield open_file
    for one in visits:
        one.context.close()
    assert [one.faults for one in visits] == [[] for _ in visits]


def test_a_report_and_a_saved_figure_ask_no_other_site_and_lead_to_none(
    opened, dashboard, tmp_path
):
    dashboard.home.nasnet("report", "digits", "--out", str(tmp_path / "report.html"))
    reward_history([]).write_html(tmp_path / "figure.html")
    (tmp_path / "cell.html").write_text(reward_history([])._repr_html_())
    for name in ("report", "figure", "cell"):
        one = opened(tmp_path / f"{name}.html")
        said = leads_nowhere(one.page)
        assert said > PLOTLY_S or name != "report"
        assert not [words for words in said if re.search(r"share|cloud|send|plotly", words, re.I)]


def test_a_report_s_policy_refuses_what_was_smuggled_into_it(opened, dashboard, tmp_path):
    dashboard.home.nasnet("report", "digits", "--out", str(tmp_path / "report.html"))
    one = opened(tmp_path / "report.html")
    asked = one.page.evaluate("fetch('http://other.example/').then(() => 'sent', () => 'refused')")
    assert asked == "refused"
    one.page.evaluate("""() => {
        const script = document.createElement('script');
        script.textContent = 'window.smuggled = true';
        document.body.append(script);
    }""")
    assert one.page.evaluate("window.smuggled") is None
    policy = re.compile("Content Security Policy")
    assert [fault for fault in one.faults if not policy.search(fault)] == []
    assert len(one.faults) >= 2
    one.faults.clear()
    with one.page.expect_download() as download:  # what Plotly needs is allowed
        one.page.locator("[data-title^='Download']").first.evaluate("e => e.click()")
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")


def _press(visit, name):
    """Press a button; the page it leads to is there after, so that no press hits one that goes."""
    with visit.page.expect_navigation():
        visit.page.get_by_role("button", name=name).click()


def _expect(visit, key, condition):
    """Wait until a live value of the page is as expected."""
    try:
        visit.page.wait_for_function(
            f"() => {{ const text = document.querySelector('[data-live={key}]').textContent;"
            f" return {condition}; }}",
            timeout=PATIENCE,
        )
    except playwright.TimeoutError:
        said = visit.page.evaluate(LIVE_VALUES)
        raise AssertionError(f"{key} is not {condition}: {said}; {visit.faults}") from None
