"""The console in a real browser, over a whole running daemon: each page does what it is there for."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from daemon.db.generation import Generations
from daemon.wiring import Daemon
from tests.console.conftest import Visit, Visits
from tests.pictures import Web, picture
from tests.whole import Tables

HOSTILE = "<img src=x onerror=\"alert('got in')\"><script>alert(1)</script>"


def fill(web: Web, tables: Tables, count: int = 12) -> None:
    """So many images with their vectors; 1 and `count` show nearly the same."""
    images = {n: web.add(f"/{n}.jpg", picture(n)) for n in range(1, count)}
    images[count] = web.add(f"/{count}.jpg", picture(1, (70, 52)))
    tables.insert(images)
    tables.wait(lambda: len(tables.vectors()) == count, "the vectors")


def row(page: Page, table: str, image: int) -> str:
    return f"#{table} tr[data-image='{image}']"


def test_now_says_how_it_is(visit: Visit, daemon: Daemon, web: Web, tables: Tables) -> None:
    page = visit.go("now")
    expect(page.locator("#sentence")).to_have_text("Idle: nothing is left to do")
    nothing = page.get_by_text("Nothing was stored in the time shown.")
    expect(nothing).to_be_visible()
    fill(web, tables)
    expect(nothing).to_be_hidden()
    tables.insert({99: web.base + "/gone.jpg"})
    expect(page.locator("#figure-failed")).to_have_text("1")
    expect(page.locator("#figure-images")).to_have_text("13")
    expect(page.locator("#figure-backlog")).to_have_text("0")
    expect(page.locator("#badge")).to_have_text("1")
    expect(page.locator(".below")).to_contain_text("12 vectors stored since then")
    expect(page.locator(".below")).to_contain_text("The weights are untrained")
    for stage in ("queue", "load", "embed", "store"):
        expect(page.locator(f"#stage-{stage} .count")).to_have_text("0")
    expect(page.locator("table th", has_text="this one")).to_be_visible()
    expect(page.locator(".facts dd.code")).to_have_text(daemon.signature)
    charts = page.locator(".plot")
    expect(charts.nth(0)).to_have_attribute("aria-label", re.compile("vectors stored 12, images failed 1"))
    expect(charts.nth(1)).to_have_attribute("aria-label", re.compile("half of the vectors were stored within"))
    assert page.locator(".plot canvas").count() == 2


def test_each_state_has_its_sentence(visit: Visit) -> None:
    page = visit.go("now")
    expect(page.locator("#sentence")).to_have_text("Idle: nothing is left to do")
    say = """async (snapshot) => {
        const { sentence } = await import(new URL("state.js", document.querySelector("script[type=module]").src));
        return sentence({ snapshot, connected: true }).text;
    }"""
    exact = {"certainty": "exact"}
    known = {"pending": {"number": 7200} | exact, "waiting": 0, "writes_a_second": 3, "reprocess": None}
    rest = {"daemon": {"in_flight": 144}, "rate": 10, "database": known}
    half = {"reprocess": {"ended_at": None, "share": 0.41, "seconds_left": 720}}
    ended = {"reprocess": {"ended_at": 1, "share": 1, "seconds_left": 0}}
    retries = {"pending": {"number": 3} | exact, "waiting": 3}
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("working", {}, "Working on 144 images, 7,200 to go, about 12 min left"),
        ("working", {"rate": 0, "database": known | {"writes_a_second": None}}, "Working on 144 images"),
        ("working", {"database": None}, "Working on 144 images"),
        ("working", {"database": known | half}, "Reprocessing, 41% done, about 12 min left"),
        ("idle", {"database": known | ended | retries}, "Idle until 3 images are due for another try"),
        ("idle", {"daemon": {"in_flight": 0}}, "About to take up 7,200 images"),
        ("waiting", {}, "Waiting: Store: PostgreSQL is away: no route"),
        ("starting", {"daemon": None, "database": None}, "Starting: the model is not warm yet"),
        ("stopping", {}, "Stopping: what is in work is finished, nothing more is taken"),
        ("stalled", {}, "Stalled: there is work, but nothing gets done"),
        ("superseded", {}, "Standing back: another daemon's model counts now"),
        ("ended", {}, "A stage has ended: the daemon has to be restarted"),
    ]
    for state, changes, said in cases:
        health = {"state": state, "status": "waiting: store: PostgreSQL is away: no route"}
        assert page.evaluate(say, rest | changes | {"health": health}) == said


def test_the_charts_are_filled_when_the_page_opens(visit: Visit, visits: Visits, web: Web, tables: Tables) -> None:
    fill(web, tables, 3)
    expect(visit.go("now").locator(".plot").first).to_have_attribute("aria-label", re.compile("stored 3,"))
    late = visits().go("now")
    expect(late.locator(".plot").first).to_have_attribute("aria-label", re.compile("stored 3,"))


def test_work_shows_while_it_is_done(visit: Visit, web: Web, tables: Tables) -> None:
    page = visit.go("now")
    expect(page.locator("#sentence")).to_have_text("Idle: nothing is left to do")
    with web.holding("/slow.jpg", picture(1)) as url:
        tables.insert({1: url})
        expect(page.locator("#sentence")).to_have_text("Working on 1 image")
        expect(page.locator("#stage-load .count")).to_have_text("1")
    expect(page.locator("#sentence")).to_have_text("Idle: nothing is left to do")


def test_a_reprocess_shows_how_far_it_is(visit: Visit, daemon: Daemon, web: Web, tables: Tables) -> None:
    fill(web, tables, 4)
    page = visit.go("now")
    with web.holding("/2.jpg", picture(2)):
        Generations(daemon.pool, daemon.names).raise_now()
        expect(page.locator("#sentence")).to_have_text(re.compile(r"^Reprocessing, 75% done"))
        expect(page.locator("progress")).to_be_visible()
    expect(page.locator("#sentence")).to_have_text("Idle: nothing is left to do")
    expect(page.locator("progress")).to_be_hidden()
    expect(page.locator(".facts dd.code")).to_have_text(re.compile(":g1$"))


def test_failures_are_told_and_tried_again(visit: Visit, web: Web, tables: Tables) -> None:
    tables.insert({n: web.base + f"/late-{n}.jpg" for n in range(1, 4)})
    tables.insert({4: "http://user:hunter2@10.0.0.1/x.jpg?token=abc", 5: web.add("/text", b"no picture")})
    tables.wait(lambda: {job[0] for job in tables.jobs().values()} == {"dead"} and len(tables.jobs()) == 5, "five dead")
    page = visit.go("failures")
    expect(page.locator("[data-reason=not_found] .count")).to_have_text("3")
    expect(page.locator("[data-reason=not_found] p")).to_have_text("404: nothing is there, or the file does not exist")
    expect(page.locator("[data-reason=blocked_address] .count")).to_have_text("1")
    blocked = page.locator(row(page, "failed", 4))
    expect(blocked.locator(".location")).to_have_text("http://***@10.0.0.1/x.jpg?token=***")
    assert "hunter2" not in page.content()

    page.locator("[data-reason=not_found] a").click()
    expect(page.locator("#failed tbody tr")).to_have_count(3)
    for n in range(1, 4):
        web.add(f"/late-{n}.jpg", picture(n))
    page.locator(row(page, "failed", 2)).get_by_role("button").click()
    expect(page.locator("#toasts")).to_contain_text("1 image is due again")
    tables.wait(lambda: set(tables.vectors()) == {2}, "its vector")
    expect(page.locator("#failed tbody tr")).to_have_count(2)
    page.get_by_role("button", name="Try all 2 again").click()
    expect(page.locator("#toasts")).to_contain_text("2 images are due again")
    tables.wait(lambda: set(tables.vectors()) == {1, 2, 3}, "their vectors")
    expect(page.locator("[data-reason=not_found]")).to_have_count(0)


def test_who_waits_for_another_try_may_have_it_now(visit: Visit, web: Web, tables: Tables) -> None:
    fill(web, tables, 2)
    tables.execute(
        "INSERT INTO vectord.job (image_id, attempts, not_before, reason) VALUES "
        "(1, 3, now() + interval '1 hour', 'read_timeout')"
    )
    page = visit.go("failures")
    waiting = page.locator(row(page, "waiting", 1))
    expect(waiting).to_contain_text("read_timeout")
    expect(waiting.locator("time")).to_have_text(re.compile(r"in (59|60) min"))
    waiting.get_by_role("button").click()
    tables.wait(lambda: tables.jobs() == {}, "the end of its job")
    expect(page.locator("#waiting")).to_contain_text("None.")


def test_the_time_until_the_next_try_goes_by(visit: Visit, web: Web, tables: Tables) -> None:
    fill(web, tables, 2)
    tables.execute(
        "INSERT INTO vectord.job (image_id, attempts, not_before, reason) VALUES "
        "(1, 3, now() + interval '80 seconds', 'read_timeout')"
    )
    when = visit.go("failures").locator(f"{row(visit.page, 'waiting', 1)} time")
    expect(when).to_have_text(re.compile(r"in \d\d sec"))
    expect(when).not_to_have_text(when.inner_text())


@pytest.mark.parametrize(
    ("place", "asked", "shown"),
    [
        ("failures", "**/failures?*", "No image has failed for good."),
        ("image/1", "**/images/1", "Done: it has its vector"),
    ],
)
def test_what_failed_to_load_says_why_and_is_loaded_later(
    visit: Visit, web: Web, tables: Tables, place: str, asked: str, shown: str
) -> None:
    fill(web, tables, 2)
    body = '{"reason": "database_unavailable", "message": "it is away"}'
    visit.page.route(asked, lambda route: route.fulfill(status=503, content_type="application/json", body=body))
    page = visit.go(place)
    expect(page.get_by_role("alert")).to_have_text("PostgreSQL is away.")
    expect(page.locator(".card:visible")).to_have_count(0)
    page.unroute(asked)
    expect(page.get_by_text(shown)).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_the_planted_near_duplicate_is_found(visit: Visit, web: Web, tables: Tables, tmp_path: Path) -> None:
    fill(web, tables)
    page = visit.go("look/1")
    first = page.locator(".hit").first
    expect(first).to_have_attribute("data-image", "12")
    expect(first.locator(".similarity[data-near]")).to_be_visible()
    expect(page.locator(".hit")).to_have_count(11)
    expect(page.locator(".hit .thumb img")).to_have_count(11)
    assert page.locator(".thumb img").evaluate_all("all => all.every(one => one.naturalWidth > 0)")

    first.click()
    expect(page).to_have_url(re.compile(r"#/look/12$"))
    expect(page.locator(".hit").first).to_have_attribute("data-image", "1")

    file = tmp_path / "mine.jpg"
    file.write_bytes(picture(5))
    page.locator("#file").set_input_files(file)
    expect(page.locator(".hit").first).to_have_attribute("data-image", "5")
    expect(page.locator(".anchor")).to_contain_text("mine.jpg")

    page.locator("#question").fill(web.base + "/7.jpg")
    page.keyboard.press("Enter")
    expect(page.locator(".hit").first).to_have_attribute("data-image", "7")
    page.locator("#question").fill("404")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Nothing is there")


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_a_picture_may_be_pasted_or_dropped(visit: Visit, web: Web, tables: Tables, kind: str) -> None:
    fill(web, tables)
    page = visit.go("look")
    expect(page.locator(".calm")).to_contain_text("Give a picture")
    page.evaluate(
        """([kind, bytes]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "given.jpg", { type: "image/jpeg" }));
            const made = kind === "paste"
                ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
                : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
            (kind === "paste" ? document : document.querySelector(".ask")).dispatchEvent(made);
        }""",
        [kind, list(picture(3))],
    )
    expect(page.locator(".hit").first).to_have_attribute("data-image", "3")


def test_what_is_no_question_gets_an_answer_too(visit: Visit, tmp_path: Path) -> None:
    page = visit.go("look")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#question")).to_be_focused()
    file = tmp_path / "mine.jpg"
    file.write_bytes(b"no picture")
    page.locator("#file").set_input_files(file)
    expect(page.get_by_role("alert")).to_have_text("the bytes are no picture")
    expect(page.locator(".anchor .thumb")).to_have_class("thumb none")
    expect(page.locator(".anchor img")).to_have_count(0)


def test_all_that_is_known_of_an_image(visit: Visit, daemon: Daemon, web: Web, tables: Tables) -> None:
    fill(web, tables, 3)
    tables.insert({9: web.base + "/gone.jpg"})
    tables.wait(lambda: 9 in tables.jobs() and tables.jobs()[9][0] == "dead", "the failure")
    page = visit.go("image/2")
    expect(page.locator("#standing")).to_have_text("Done: it has its vector")
    expect(page.locator(".timeline li").first).to_contain_text("The vector was first stored")
    expect(page.locator("#vector")).to_have_attribute("aria-label", re.compile("^1,280 numbers from"))
    drawn = "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(one => one)"
    assert page.locator("#vector").evaluate(drawn)
    page.locator("#vector").hover(position={"x": 5, "y": 5})
    expect(page.get_by_text(re.compile(r"^Number 0: "))).to_be_visible()
    page.get_by_role("link", name="What looks like this?").click()
    expect(page.locator(".hit")).to_have_count(2)

    page = visit.go("image/9")
    expect(page.locator("#standing")).to_contain_text("Failed for good after 1 attempt: not_found")
    expect(page.locator(".timeline")).to_contain_text("It failed: not_found")
    web.add("/gone.jpg", picture(9))
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#standing")).to_have_text("Done: it has its vector")
    visit.go("image/404")
    expect(page.get_by_role("alert")).to_have_text("There is no such image.")


def test_no_text_of_the_database_is_ever_html(visit: Visit, tables: Tables) -> None:
    tables.insert({1: HOSTILE, 2: "javascript:alert(1)", 3: "http://10.0.0.1/" + HOSTILE})
    tables.wait(lambda: [job[0] for job in tables.jobs().values()] == ["dead"] * 3, "three dead")
    page = visit.go("failures")
    expect(page.locator(f"{row(page, 'failed', 1)} .location")).to_have_text(HOSTILE)
    visit.go("image/1")
    expect(page.locator(".summary .location")).to_have_text(HOSTILE)
    visit.go("image/%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
    expect(page.locator("h1")).to_have_text("Image <img src=x onerror=alert(1)>")
    expect(page.get_by_role("alert")).to_be_visible()
    assert page.locator("main img, main script, main a[href^=javascript]").count() == 0


def test_a_thumbnail_that_cannot_be_made_says_why(visit: Visit, web: Web, tables: Tables) -> None:
    fill(web, tables, 3)
    del web.files["/2.jpg"]
    page = visit.go("image/2")
    frame = page.locator(".summary .thumb")
    expect(frame).to_have_class("thumb none")
    expect(frame).to_have_attribute("title", re.compile("404: nothing is there"))
