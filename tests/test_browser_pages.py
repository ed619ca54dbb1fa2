"""The explorer's pages in a real browser, on small real runs behind the real server."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from browser import WIDE, go, serving
from play_runs import HOSTILE, spectra
from simplecell.run.begin import begin
from simplecell.run.recipe import Recipe

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
pytest_plugins = ["browser_fixtures"]

PHONE = {"width": 360, "height": 740}
PAGES = [
    "",
    *("edges/", "edges/latent/3", "edges/data", "edges/training", "edges/compare/again"),
    *("acts/", "acts/latent/2", "acts/data", "table/", "table/latent/1", "table/data"),
    *("digits/playground", "edges/playground", "acts/playground", "table/playground"),
]


def gallery(page, address):
    go(page, address)
    expect(page.locator(".board[data-sorted]")).to_be_visible()
    return page


def chosen(page):
    """The number of the latent that the keyboard is on."""
    said = page.locator("#option").text_content()
    return int(re.match(r"Latent (\d+)", said).group(1))


def order(page, n):
    """The first latents of the gallery, as a screen reader hears them."""
    page.locator(".board").focus()
    page.keyboard.press("Home")
    found = [chosen(page)]
    for _ in range(n - 1):
        page.keyboard.press("ArrowRight")
        found.append(chosen(page))
    return found


def test_every_page_opens_and_fits_its_screen(site, page):
    for screen, colors in ((WIDE, "light"), (PHONE, "dark")):
        page.set_viewport_size(screen)
        page.emulate_media(color_scheme=colors)
        for path in PAGES:
            go(page, site + path)
            if path.endswith("playground"):
                expect(page.locator(".play-latents li").first).to_be_visible()
            expect(page.locator("main h1")).to_have_count(1)
            expect(page.locator(".trouble")).to_have_count(0)
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= screen["width"], path


def test_the_gallery_sorts_by_what_it_says(site, runs, page):
    gallery(page, site + "edges/")
    atlas = json.loads((runs["edges"] / "atlas" / "atlas.json").read_text())
    numbers = np.fromfile(runs["edges"] / "atlas" / "columns.bin", dtype="<f4")
    columns = {name: numbers[12 * k : 12 * (k + 1)] for k, name in enumerate(atlas["columns"])}
    for name in ("edge", "norm", "mean"):
        page.select_option("#controls-sort", name)
        expect(page).to_have_url(re.compile(f"sort={name}&down=1"))
        expected = np.lexsort((np.arange(12), -columns[name]))
        assert order(page, 5) == expected[:5].tolist()
    page.get_by_role("button", name="Largest first").click()
    assert order(page, 5) == np.lexsort((np.arange(12), columns["mean"]))[:5].tolist()
    page.select_option("#controls-sort", "number")
    assert order(page, 3) == [0, 1, 2]


def test_likeness_to_a_latent_puts_it_first(site, page):
    gallery(page, site + "edges/?sort=similar&down=1&like=7")
    assert order(page, 2)[0] == 7
    page.locator(".like").fill("4")
    page.locator(".like").press("Enter")
    expect(page).to_have_url(re.compile("like=4"))
    assert order(page, 2)[0] == 4


def test_search_and_filter_are_in_the_address_and_back_undoes_them(site, page):
    gallery(page, site + "acts/")
    shown = page.locator(".shown")
    expect(shown).to_have_text("16 latents")
    page.keyboard.press("/")
    page.keyboard.type("12")
    expect(shown).to_contain_text(" of 16 latents")
    expect(page).to_have_url(re.compile("q=12"))
    page.keyboard.press("Enter")
    assert chosen(page) == 12  # before others whose words hold the number
    page.locator("input[type=search]").fill("nothing like this")
    expect(shown).to_contain_text("No latent fits")
    page.locator("input[type=search]").fill("")
    expect(shown).to_have_text("16 latents")
    page.locator(".overview .bars button").last.click()
    expect(shown).to_contain_text(" of 16 latents")
    expect(page).to_have_url(re.compile("from="))
    page.go_back()
    expect(shown).to_have_text("16 latents")


def test_a_latent_is_reached_and_left_by_the_keyboard_alone(site, page):
    gallery(page, site + "edges/?sort=number&down=0")
    expect(page.locator(".board")).to_be_focused()
    page.keyboard.press("ArrowDown")
    assert chosen(page) == 0  # the first key shows where one is
    for key in ("Home", "ArrowRight", "ArrowRight", "End", "ArrowLeft"):
        page.keyboard.press(key)
    assert chosen(page) == 10
    page.keyboard.press("Enter")
    title = page.locator("h1")
    expect(title).to_have_text("Latent 10")
    expect(title).to_be_focused()
    page.keyboard.press("j")
    expect(title).to_have_text("Latent 11")
    page.keyboard.press("ArrowLeft")
    expect(title).to_have_text("Latent 10")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.go_back()
    page.go_back()
    page.go_back()
    expect(page.locator(".board[data-sorted]")).to_be_visible()
    assert chosen(page) == 10


NEXT_FRAMES = "new Promise((then) => requestAnimationFrame(() => requestAnimationFrame(then)))"


@pytest.mark.parametrize("ratio", [1, 1.5])
def test_what_was_shifted_equals_what_is_drawn_anew(site, visit, ratio):
    small = {"viewport": {"width": 361, "height": 401}, "device_scale_factor": ratio}
    page = gallery(visit(site, **small), site + "edges/")
    picture = "document.querySelector('.board canvas').toDataURL()"
    for step in (400, 33, -20.5, 7, 55):
        page.evaluate(f"window.scrollBy(0, {step})")
        page.evaluate(NEXT_FRAMES)
    shifted = page.evaluate(picture)
    page.evaluate("dispatchEvent(new Event('resize'))")
    assert shifted == page.evaluate(picture)


def test_a_click_opens_what_it_hits(site, page):
    gallery(page, site + "edges/?sort=number&down=0")
    page.locator(".board").click(position={"x": 20, "y": 20})
    expect(page.locator("h1")).to_have_text("Latent 0")


def test_a_latents_page_shows_its_samples_where_they_come_from(site, runs, page):
    go(page, site + "edges/latent/3")
    lines = (runs["edges"] / "atlas" / "details.jsonl").read_text().splitlines()
    details = json.loads(lines[3])
    body = page.locator(".body")
    expect(body.locator(".samples").first.locator("figure")).to_have_count(len(details["top"]))
    place = details["top"][0]["sample"]["photo"]
    page.locator(".photo").first.click()
    dialog = page.get_by_role("dialog")
    mark = dialog.locator("rect.ring")
    assert [float(mark.get_attribute(name)) for name in ("x", "y", "width")] == [
        place["left"],
        place["top"],
        place["side"],
    ]
    page.keyboard.press("Escape")
    first = details["nearest"][0]["latent"]
    page.locator(".relatives .tile").first.click()
    expect(page.locator("h1")).to_have_text(f"Latent {first}")


def test_a_note_is_kept_found_and_removed(site, runs, page):
    go(page, site + "edges/latent/5")
    note = page.get_by_role("textbox", name="Note")
    note.fill(f"likes corners {HOSTILE}")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".noted .state")).to_contain_text("saved in the run")
    assert "likes corners" in (runs["edges"] / "notes.json").read_text()
    page.reload()
    expect(page.get_by_role("textbox", name="Note")).to_have_value(f"likes corners {HOSTILE}")
    go(page, site + "edges/?q=corners")
    expect(page.locator(".shown")).to_have_text("1 of 12 latents")
    go(page, site + "edges/latent/5")
    page.get_by_role("textbox", name="Note").fill("")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".noted .state")).to_have_text("removed")
    page.get_by_role("button", name="Save").click()  # nothing is left to save, and the word stays
    page.evaluate("new Promise((then) => setTimeout(then))")
    expect(page.locator(".noted .state")).to_have_text("removed")


def test_a_note_that_cannot_be_saved_says_so(site, page):
    go(page, site + "edges/latent/6")
    page.route("**/note", lambda route: route.abort())
    page.get_by_role("textbox", name="Note").fill("lost")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".noted .state")).to_contain_text("could not be saved")
    page.watch.wrong.clear()  # the browser itself logs a request that was cut off


def test_language_and_colours_are_changed_and_remembered(site, visit):
    page = visit(site + "edges/")
    page.get_by_role("button", name="Chinese").click()
    expect(page.locator("nav a").first).to_have_text("潜变量")
    expect(page.locator("html")).to_have_attribute("lang", "zh")
    page.reload()
    expect(page.locator("nav a").first).to_have_text("潜变量")
    for theme in ("dark", "light", "auto"):
        page.get_by_role("button", name="配色").click()
        expect(page.locator("html")).to_have_attribute("data-theme", theme)


def test_the_browsers_language_is_the_first(site, visit):
    page = visit(site + "edges/", locale="zh-CN")
    expect(page.locator("nav a").first).to_have_text("潜变量")


def test_what_comes_from_data_is_text(site, page):
    alarms = []
    page.once("dialog", lambda dialog: (alarms.append(dialog.message), dialog.dismiss()))
    for path in ("acts/latent/2", "table/latent/1", "table/data"):
        go(page, site + path)
        expect(page.locator("main")).to_contain_text(HOSTILE)
    assert page.locator("img[src=x]").count() == 0
    assert alarms == []


def likenesses(page):
    """How alike the matched atoms are, whichever way they point."""
    texts = page.locator(".cosine").all_inner_texts()
    return [abs(float(text.split()[0].replace("−", "-"))) for text in texts]


def test_two_runs_are_compared(site, page):
    go(page, site + "edges/compare/again")
    expect(page.locator(".match")).to_have_count(12)
    values = likenesses(page)
    assert values == sorted(values, reverse=True)
    expect(page.locator("main")).to_contain_text("The numbers compare atoms")
    page.get_by_role("button", name="most similar first").click()
    expect(page.get_by_role("button", name="least similar first")).to_be_visible()
    assert likenesses(page) == values[::-1]
    page.get_by_label("Second").select_option("acts")
    expect(page.locator(".notice")).to_contain_text("inputs per sample")
    page.watch.wrong.clear()  # the browser itself logs an answer of 400


def test_pca_stands_beside_every_run_that_has_it(site, page):
    """In the header, the list of runs and a comparison; where nobody measured it there is none."""
    rows = {}

    def answer(route):
        if route.request.resource_type == "document":  # the page has the address of its data
            return route.continue_()
        told = route.fetch().json()
        rows.update({row["name"]: row for row in told["runs"]})
        rows["acts"]["pca"] = None
        return route.fulfill(json=told)

    page.route(site, answer)
    page.goto(site)
    expect(page.locator("thead")).to_contain_text("fvu of PCA")
    [one, *_] = rows["table"]["pca"]["fvu"]
    cell = page.locator("tbody tr", has=page.get_by_role("link", name="table")).locator("td").nth(3)
    told = re.match(r"([\d.]+) by (\d+)$", cell.inner_text())
    assert (float(told[1]), int(told[2])) == (
        pytest.approx(one["fvu"], rel=5e-3),
        one["components"],
    )
    without = page.locator("tbody tr", has=page.get_by_role("link", name="acts"))
    expect(without.locator("td").nth(3)).to_have_text("–")
    page.goto(site + "table/")
    words = f"PCA with {one['components']} components: fvu {told[1]} on held-out samples"
    expect(page.locator("header")).to_contain_text(words)
    page.goto(site + "acts/")
    expect(page.locator("header .figures")).to_contain_text("fvu")
    expect(page.locator("header .figures")).not_to_contain_text("PCA")
    page.unroute(site)
    go(page, site + "edges/compare/again")
    expect(page.locator(".figuretable").first).to_contain_text("fvu of PCA")


def test_a_training_is_followed_until_it_ends(site, page):
    answers = [3, 4, 5]

    def answer(route):
        n = answers.pop(0)
        told = {"status": "running" if answers else "finished", "running": bool(answers)}
        record = {"cost": 1.5, "terms": {"kl": 0.1}, "held_out_cost": None, "seconds": 2.0}
        activity = {"mean_activation": {"min": 0.01, "mean": 0.02, "max": 0.03}}
        records = [{"step": k + 1, **record, **activity} for k in range(n)]
        told |= {"n_iter": n, "steps": 9, "seconds": 2.0, "weights": {"kl": 3}, "target": 0.01}
        route.fulfill(json=told | {"records": records})

    page.route("**/edges/training", answer)
    go(page, site + "edges/training")
    expect(page.locator(".lead")).to_contain_text("Running: step 3 of at most 9")
    expect(page.locator(".lead")).to_contain_text("Finished after 5 steps")
    assert answers == []


def test_a_run_without_weights_shows_its_training(runs, tmp_path, page):
    session = begin(runs["acts"].parent / "acts.npy", tmp_path / "young", Recipe.load("ufldl"))
    next(iter(session.records()))
    with serving(tmp_path / "young") as address:
        go(page, address)
        expect(page.get_by_role("alert")).to_contain_text("This cannot be shown")
        page.get_by_role("link", name="Training of this run").click()
        expect(page.locator("h1")).to_have_text("Training")
        page.goto("about:blank")  # before its server goes
        assert all("404" in told for told in page.watch.wrong)  # the browser logs such answers
        page.watch.wrong.clear()


def test_the_list_of_runs_leads_to_each(site, page):
    go(page, site)
    expect(page.locator("tbody tr")).to_have_count(5)
    page.get_by_role("link", name="acts").first.click()
    expect(page.locator(".shown")).to_have_text("16 latents")
    page.locator("select.run").select_option("table")
    expect(page.locator(".shown")).to_have_text("9 latents")


def test_a_patch_is_shown_before_its_photograph_was_whitened(site, page):
    go(page, site + "edges/data")
    first = page.locator(".pair").first
    expect(first.get_by_role("img", name="in its photograph")).to_be_visible()
    expect(first.get_by_role("img", name="after 1/f whitening")).to_be_visible()
    expect(first.get_by_role("img", name="prepared")).to_be_visible()


def test_the_list_of_runs_leads_to_a_comparison(site, page):
    go(page, site)
    page.get_by_role("link", name="Compare two runs").click()
    expect(page.locator("h1")).to_have_text("Compare two runs")
    expect(page.locator(".match").first).to_be_visible()


def test_what_does_not_exist_is_told(site, page):
    go(page, site + "edges/")
    told = {
        "edges/latent/99": "There is no latent 99: this run has 12",
        "compare": "There is no run “compare” here",
        "edges/compare/nothing": "There is no run “nothing” here",
        "edges/nothing": "This cannot be shown",
    }
    for path, sentence in told.items():
        go(page, site + path)
        expect(page.get_by_role("alert")).to_contain_text(sentence)
        expect(page.locator("nav a")).to_have_count(0 if path == "compare" else 5)
    page.get_by_role("link", name="Back to the beginning").click()
    expect(page.locator("h1")).to_have_text("Runs")
    go(page, site + "edges/compare")
    expect(page.locator(".match")).to_have_count(12)


def test_tiles_of_a_running_training_are_replaced_when_it_has_ended(site, visit):
    page = visit(site)
    page.clock.install()
    asked = []

    def manifest(route):
        if "json" not in route.request.headers["accept"].split(",")[0]:
            route.fallback()
            return
        answer = route.fetch()
        asked.append(answer)
        first = {"status": "running", "n_iter": 5, "key": "first"} if len(asked) < 3 else {}
        route.fulfill(json=answer.json() | first)

    page.route("**/edges/", manifest)
    page.goto(site + "edges/")
    status = page.locator(".figures .status")
    expect(status).to_contain_text("tiles as of step 5")
    with page.expect_event("load"):  # a rewritten address is a navigation too, but no load
        while len(asked) < 3:  # what is asked at first, then twice while one looks
            page.clock.run_for(5000)
    expect(page.locator(".board[data-sorted]")).to_be_visible()
    expect(status).to_have_count(0)
    assert len(asked) == 4  # and with the new page


def test_latents_that_stay_silent_are_told_and_found(site, visit):
    page = visit(site)

    def columns(route):
        answer = route.fetch()
        numbers = np.frombuffer(answer.body(), dtype="<f4").copy()
        numbers[:12] = np.where(np.arange(12) < 3, 0, 0.25)
        route.fulfill(response=answer, body=numbers.tobytes())

    page.route("**/edges/files/columns.bin", columns)
    page.goto(site + "edges/")
    expect(page.locator(".figures")).to_contain_text("3 never above the middle")
    page.select_option("#controls-show", "dead")
    expect(page.locator(".shown")).to_have_text("3 of 12 latents")
    page.select_option("#controls-show", "all")
    page.get_by_role("button", name="never above the middle: 3 latents").click()
    expect(page.locator(".shown")).to_have_text("3 of 12 latents")


def test_an_opposite_atom_is_called_so_and_counts_as_alike(site, page):
    def details(route):
        if "json" not in route.request.headers["accept"].split(",")[0]:
            route.fallback()
            return
        told = route.fetch().json()
        near = [{"latent": 1, "cosine": 0.5}, {"latent": 2, "cosine": -0.8}]
        route.fulfill(json=told | {"nearest": near})

    page.route("**/edges/latent/3", details)
    go(page, site + "edges/latent/3")
    remarks = page.locator(".relatives section").first.locator(".remark")
    expect(remarks.first).to_have_text("−0.80 opposite")
    expect(remarks.nth(1)).to_have_text("0.50")


@pytest.mark.parametrize(("side", "least"), [(2, 6.0), (48, 0.0)])
def test_a_mark_is_seen_and_lies_inside_its_photograph(modules, side, least):
    box = modules.evaluate(
        """async (side) => {
          const { marker } = await import('/lib/sample.js');
          const place = { top: 0, left: 200 - side, side };
          const mark = marker({ width: 200, height: 100 }, place, 0.4).querySelector('rect.ring');
          return ['x', 'y', 'width'].map((name) => Number(mark.getAttribute(name)));
        }""",
        side,
    )
    width = max(side, least / 0.4)
    assert box == pytest.approx([200 - width, 0, width])


def test_a_sample_of_the_data_page_is_played_with(site, page):
    go(page, site + "table/data")
    first = page.locator(".judged").first
    heads = ["column", "value", "reconstruction", "difference"]
    expect(first.locator("thead th")).to_have_text(heads)
    page.get_by_role("navigation", name="Parts of this page").get_by_text("Preparation").click()
    expect(page.get_by_role("heading", name="Preparation")).to_be_focused()
    page.locator(".play").first.click()
    expect(page).to_have_url(re.compile("table/playground.sample="))


def number(text):
    """What a cell says: 1,234, −0.5 or −1.2 × 10⁻³."""
    power = re.search("10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", text)
    signs = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    factor = 10.0 ** int(power[1].translate(signs)) if power else 1.0
    first = text.split("\u00a0")[0].split(" ")[0].replace(",", "").replace("−", "-")
    return (float(first) if not first.startswith("10") or not power else 1.0) * factor


@pytest.mark.parametrize("name", ["table", "acts"])
def test_the_worst_samples_are_told_with_what_comes_back_of_their_columns(site, runs, page, name):
    go(page, f"{site}{name}/data")
    data = json.loads((runs[name] / "atlas" / "data.json").read_text())["samples"]
    first = page.locator(".judged").first
    if name == "acts":  # of texts they stand behind a word
        first.locator("summary", has_text="Columns that err most").click()
    lines = first.locator("table.columns").first.locator("tbody tr")
    expect(lines).to_have_count(min(8, 5 if name == "table" else 40))
    for line, (column, value, recon) in zip(lines.all(), data[0]["columns"], strict=True):
        expect(line.locator("th")).to_have_text(column)
        told = [number(text) for text in line.locator("td").all_inner_texts()]
        assert told == pytest.approx([value, recon, recon - value], rel=1e-3)


def test_a_latent_of_spectra_is_a_curve(page, tmp_path):
    with serving(spectra(tmp_path).path) as address:
        go(page, f"{address}spectra/latent/1")
        expect(page.locator(".aside h2").filter(has_text="Weights of the inputs")).to_be_visible()
        line = page.locator(".aside .curves path.line")
        assert line.get_attribute("d").count("L") == 11
        expect(page.locator(".aside .bartable")).to_have_count(0)
        page.goto("about:blank")  # before its server goes


def test_the_list_of_runs_tells_all_that_its_plane_needs(site, page):
    go(page, site + "edges/")
    asked = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(site)))
    page.goto(site)
    expect(page.locator(".keys")).to_contain_text("of 40 inputs")
    expect(page.locator(".keys")).to_contain_text("of 5 inputs")
    assert {path for path in asked if not path.startswith("static/")} == {""}
