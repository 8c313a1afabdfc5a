"""How the console behaves: its door, restarts of the daemon, keys, small screens, languages, and those who hear it."""

import re
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped] # it has none
from playwright.sync_api import Browser, Page, expect

from daemon import wiring
from daemon.wiring import Daemon
from tests.console.conftest import Visit, Visits, visiting
from tests.pictures import Web, picture
from tests.whole import Tables, settings

PLACES = ("now", "failures", "look/1", "image/1", "image/9")
SAY_TWICE = """async () => {
    const { toast } = await import(new URL("toast.js", document.querySelector("script[type=module]").src));
    toast("the same");
    toast("the same");
}"""
PHONE = {"width": 360, "height": 740}


@pytest.fixture
def furnished(daemon: Daemon, web: Web, tables: Tables) -> Daemon:
    """With a few vectors, a failure, and one that waits for another try."""
    tables.insert({n: web.add(f"/{n}.jpg", picture(n)) for n in range(1, 5)} | {9: web.base + "/gone.jpg"})
    tables.wait(lambda: len(tables.vectors()) == 4 and 9 in tables.jobs() and tables.jobs()[9][0] == "dead", "both")
    tables.execute(
        "INSERT INTO vectord.job (image_id, attempts, not_before, reason, last_error) VALUES "
        "(2, 3, now() + interval '1 hour', 'read_timeout', 'a rather long detail of what went wrong with it')"
    )
    return daemon


def settled(page: Page, place: str) -> None:
    """Waits until the page shows what it has to show."""
    shown = {"now": "#figure-failed", "failures": "#waiting tr[data-image]", "look/1": ".hit", "image/1": "#standing"}
    expect(page.locator(shown.get(place, "#standing")).first).to_be_visible()
    expect(page.locator("#badge")).to_be_visible()
    expect(page.locator(".thumb.loading")).to_have_count(0)


def test_a_token_is_asked_for_and_kept_in_the_tab(
    browser: Browser, empty_database: str, compiled: Path, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("open sesame")
    given = settings(empty_database, compiled, http={"token_file": str(file)})
    with (
        wiring.open_daemon(given, allow_untrained=True) as daemon,
        visiting(browser, daemon.address) as visit,
    ):
        page = visit.go("failures")
        for guess in ("wrong", "open sesame"):
            expect(page.locator("#token")).to_be_focused()
            page.locator("#token").fill(guess)
            page.keyboard.press("Enter")
            if guess == "wrong":
                expect(page.get_by_role("alert")).to_have_text("That is not the token.")
        expect(page.locator("#failures")).to_be_visible()
        expect(page.locator(".calm")).to_have_text("No image has failed for good.")
        expect(page.locator("#pulse")).to_have_attribute("data-tone", "good")
        kept = page.evaluate("[Object.values(sessionStorage), Object.values(localStorage).join(), document.cookie]")
        assert kept[0] == ["open sesame"]
        assert "sesame" not in kept[1] + kept[2]
        page.reload()
        expect(page.locator(".calm")).to_have_text("No image has failed for good.")
        page.get_by_role("button", name="Forget the token").click()
        expect(page.locator("#token")).to_be_focused()


def test_it_comes_back_after_a_restart_of_the_daemon(browser: Browser, empty_database: str, compiled: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = settings(empty_database, compiled, http={"port": port})
    with ExitStack() as stack:
        with wiring.open_daemon(given, allow_untrained=True) as daemon:
            visit = stack.enter_context(visiting(browser, daemon.address))
            page = visit.go("now")
            expect(page.locator("#sentence")).to_have_text("Idle: nothing is left to do")
        expect(page.locator("#sentence")).to_have_text("The daemon does not answer")
        expect(page.locator("#pulse")).to_have_attribute("data-tone", "bad")
        page.evaluate(SAY_TWICE)
        expect(page.locator(".toast")).to_have_count(1)
        with wiring.open_daemon(given, allow_untrained=True):
            expect(page.locator("#sentence")).to_have_text("Idle: nothing is left to do")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visits: Visits, furnished: Daemon, scheme: str) -> None:
    # What is injected to look for faults would itself be one to the policy.
    visit = visits(color_scheme=scheme, bypass_csp=True)
    for place in PLACES:
        page = visit.go(place)
        settled(page, place)
        found = Axe().run(page).response["violations"]
        serious = [(one["id"], [node["target"] for node in one["nodes"]]) for one in found]
        assert serious == [], place


@pytest.mark.parametrize("place", PLACES)
def test_a_phone_shows_all_of_it(visits: Visits, furnished: Daemon, place: str) -> None:
    visit = visits(viewport=PHONE, has_touch=True, is_mobile=True)
    page = visit.go(place)
    settled(page, place)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    tab = page.get_by_role("navigation").get_by_role("link", name="Look")
    box = tab.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= PHONE["height"]
    tab.tap()
    expect(page.locator("#question")).to_be_visible()


def test_a_tablet_breaks_no_reason_and_leaves_no_figure_alone(visits: Visits, furnished: Daemon) -> None:
    page = visits(viewport={"width": 768, "height": 1024}).go("failures")
    settled(page, "failures")
    lines = page.locator("td .code").evaluate_all("all => all.map((one) => one.getClientRects().length)")
    assert lines == [1, 1]
    page.goto(page.url.replace("failures", "now"))
    settled(page, "now")
    tops = page.locator(".figure").evaluate_all("all => all.map((one) => one.offsetTop)")
    assert tops[0] == tops[1] < tops[2] == tops[3]


def test_the_keyboard_is_enough(visit: Visit, furnished: Daemon) -> None:
    page = visit.go("now")
    settled(page, "now")
    page.keyboard.press("Tab")
    expect(page.locator("#skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("2")
    expect(page.get_by_role("heading", name="Failures", exact=True)).to_be_visible()
    page.keyboard.press("/")
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.type("1")
    expect(page.locator("#question")).to_have_value("1")
    page.keyboard.press("Enter")
    hits = page.locator(".hit")
    expect(hits).to_have_count(3)
    hits.first.focus()
    page.keyboard.press("ArrowRight")
    expect(hits.nth(1)).to_be_focused()
    chosen = hits.nth(1).get_attribute("data-image")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(rf"#/look/{chosen}$"))


def test_it_speaks_the_browsers_language_or_the_chosen_one(visits: Visits, furnished: Daemon) -> None:
    page = visits(locale="zh-CN").go("now")
    expect(page.locator("#sentence")).to_have_text("空闲，1 张图片等待重试")
    page.locator("#language").click()
    expect(page.locator("#sentence")).to_have_text("Idle until 1 image is due for another try")
    expect(page.locator("html")).to_have_attribute("lang", "en")
    page.reload()
    expect(page.locator("#sentence")).to_have_text("Idle until 1 image is due for another try")


def test_light_and_dark_are_the_systems_or_the_chosen_one(visits: Visits, furnished: Daemon) -> None:
    page = visits(color_scheme="dark").go("now")
    settled(page, "now")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.locator("#theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    light = page.evaluate(ground)
    assert light != dark
    page.reload()
    settled(page, "now")
    assert page.evaluate(ground) == light
    page.locator("#theme").click()
    assert page.evaluate(ground) == dark


def test_nothing_may_be_put_into_the_page_by_others(visit: Visit) -> None:
    """The policy holds in this browser: inline scripts, other hosts, and text that would become HTML."""
    page = visit.go("now")
    expect(page.locator("#sentence")).to_be_visible()
    assert visit.wrong == []
    page.evaluate("""() => {
        const script = document.createElement("script");
        try { script.textContent = "window.inside = true"; document.head.append(script); } catch { window.refused = 1; }
        try { document.body.innerHTML = "<b>x</b>"; } catch { window.refusedHtml = true; }
    }""")
    assert page.evaluate("[window.inside, window.refusedHtml]") == [None, True]
    assert page.evaluate("fetch('http://192.0.2.1/').then(() => 'out', () => 'kept in')") == "kept in"
    assert any("connect-src" in one for one in visit.wrong)
    visit.wrong.clear()
