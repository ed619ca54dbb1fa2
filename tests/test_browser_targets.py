"""Targets and names in a real browser: the gallery by effect, a latent's effects, its name."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from browser import WIDE, go, serving
from houses import write_houses
from simplecell.explorer.export import export
from simplecell.explorer.make.atlas import build_atlas
from simplecell.run.begin import begin
from simplecell.run.build import all_data
from simplecell.run.directory import Run
from simplecell.run.notes import Notes, weights_of
from simplecell.run.recipe import Recipe

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
pytest_plugins = ["browser_fixtures"]

M = 16
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def houses(tmp_path_factory):
    """A run on houses with price and kind as records, with its atlas."""
    folder = tmp_path_factory.mktemp("houses")
    table = write_houses(folder / "houses.csv")
    settings = ['data.records=["price","kind"]', f"model.n_latents={M}", "train.steps=300"]
    settings += ["model.target_l0=3", "preprocess.steps=['standardize']"]
    session = begin(str(table), folder / "run", Recipe.load("topk"), settings=settings)
    for _ in session.records():
        pass
    session.finish()
    run = Run(folder / "run")
    loaded = run.load()
    for _ in build_atlas(run, loaded, all_data(loaded)):
        pass
    return run


@pytest.fixture(scope="module")
def address(houses):
    with serving(houses.path) as found:
        yield f"{found}run/"


def figures(run):
    """Each figure of each target and class, by (label, name): [M]."""
    folder = run.path / "atlas"
    told = json.loads((folder / "atlas.json").read_text())["targets"]["tested"]
    numbers = np.fromfile(folder / "targets.bin", dtype="<f4")
    found = {}
    for entry in told:
        labels = [f"{entry['name']} = {one}" for one in entry["classes"]] or [entry["name"]]
        for f, name in enumerate(entry["figures"]):
            for k, label in enumerate(labels):
                at = entry["at"] + (f * len(labels) + k) * M
                found[label, name] = numbers[at : at + M]
    return found


def first(page):
    """The first latent of the gallery, as a screen reader hears it."""
    page.locator(".board").focus()
    page.keyboard.press("Home")
    return int(re.match(r"Latent (\d+)", page.locator("#option").text_content()).group(1))


def test_the_gallery_sorts_by_effect_and_filters_what_holds(houses, address, page):
    found = figures(houses)
    go(page, address)
    expect(page.locator(".controls-goes")).to_be_hidden()
    page.select_option("#controls-sort", "effect")
    expect(page).to_have_url(re.compile("sort=effect&down=1&goes=0"))
    page.select_option("#controls-goes", label="price")
    effect = found["price", "rank_correlation"]
    assert first(page) == np.nanargmax(np.abs(effect))
    answer = page.locator(".answer")
    expect(answer).to_contain_text("The data predict price: R²")
    sure = found["price", "q"] <= 0.05
    holding = sure & (found["price", "holds"] == 1)
    assert 0 < holding.sum() < M
    verb = "latents go" if sure.sum() > 1 else "latents goes"
    expect(answer).to_contain_text(f"{sure.sum()} of {M} {verb} with it at a false discovery rate")
    expect(answer).to_contain_text(f"{holding.sum()} of them hold")
    page.get_by_label("holds on held-out samples").check()
    expect(page.locator(".shown")).to_have_text(f"{holding.sum()} of {M} latents")
    expect(page).to_have_url(re.compile("holds=1"))
    page.reload()
    expect(page.get_by_label("holds on held-out samples")).to_be_checked()
    expect(page.locator(".shown")).to_have_text(f"{holding.sum()} of {M} latents")
    page.get_by_label("holds on held-out samples").uncheck()
    page.select_option("#controls-goes", label="kind = villa")
    expect(page).to_have_url(re.compile("goes=2"))
    expect(page.locator(".answer")).to_contain_text("tells kind = villa from the rest")
    assert first(page) == np.nanargmax(np.abs(found["kind = villa", "auc"] - 0.5))
    page.select_option("#controls-sort", "mean")
    expect(page.locator(".answer")).to_be_hidden()
    expect(page.locator(".shown")).to_have_text(f"{M} latents")


def test_a_latents_page_has_its_effects(houses, address, page):
    found = figures(houses)
    latent = int(np.nanargmax(np.abs(found["price", "rank_correlation"])))
    go(page, f"{address}latent/{latent}")
    row = page.locator('tr[data-target="price.0"]')
    rank, held = (found["price", f"{one}rank_correlation"][latent] for one in ("", "held_out_"))
    cells = row.locator("td")
    expect(cells.nth(0)).to_contain_text(f"{rank:.3g}".rstrip("0").replace("-", "−"))
    expect(cells.nth(0)).to_contain_text(f"held out: {held:.3g}".rstrip("0").replace("-", "−"))
    expect(cells.nth(1)).to_contain_text(re.compile(r"\[.+, .+\]held out: "))
    holds = found["price", "holds"][latent] == 1
    expect(cells.nth(3)).to_have_text("yes" if holds else "no")
    for kind in ("flat", "terrace", "villa"):
        expect(page.locator("table.effects")).to_have_count(2)
        expect(page.get_by_role("row", name=f"kind = {kind}")).to_have_count(1)
    expect(page.locator("main")).to_contain_text("simplecell explain run DATA --target")
    row.get_by_role("link").click()
    expect(page).to_have_url(re.compile("sort=effect&down=1&goes=3"))


def test_pages_of_targets_fit_a_phone_and_speak_chinese(address, page):
    page.set_viewport_size(PHONE)
    for path in ("?sort=effect&goes=3&holds=1", "latent/0", "latent/1"):
        go(page, address + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
    page.set_viewport_size(WIDE)
    go(page, f"{address}?sort=effect&goes=3")
    page.get_by_role("button", name="Chinese").click()
    expect(page.locator(".answer")).to_contain_text("错误发现率")
    go(page, f"{address}latent/0")
    expect(page.locator("main")).to_contain_text("与什么相关")
    page.get_by_role("button", name="English").click()
    expect(page.locator("main")).to_contain_text("What it goes with")


def test_a_site_on_the_disk_has_the_same(houses, visit, tmp_path):
    index = export([houses.path], tmp_path / "site")
    page = visit(index.as_uri())
    page.goto(f"{index.as_uri()}#run/?sort=effect&goes=3")
    page.reload()
    expect(page.locator(".answer")).to_contain_text("The data predict price")
    page.goto(f"{index.as_uri()}#run/latent/1")
    page.reload()
    expect(page.locator("table.effects")).to_have_count(2)
    expect(page.locator("main")).to_contain_text("No name.")


def test_a_name_is_kept_shown_and_refused_where_another_has_it(houses, address, page):
    go(page, f"{address}latent/3")
    field = page.get_by_role("textbox", name="Name")
    field.fill("old <b>houses</b>")
    field.press("Enter")
    expect(page.locator(".named .state")).to_contain_text("saved in the run")
    expect(page.locator("h1")).to_have_text("Latent 3: old <b>houses</b>")
    assert houses.load().names.given == {3: "old <b>houses</b>"}
    go(page, f"{address}?q=old+%3Cb")
    expect(page.locator(".shown")).to_have_text(f"1 of {M} latents")
    go(page, f"{address}latent/4")
    field = page.get_by_role("textbox", name="Name")
    field.fill("old <b>houses</b>")
    page.get_by_role("button", name="Give this name").click()
    expect(page.locator(".named .state")).to_contain_text("latents 3 and 4 are both called")
    page.watch.wrong.clear()  # the browser logs the refusal
    go(page, f"{address}latent/3")
    page.get_by_role("textbox", name="Name").fill("")
    page.get_by_role("button", name="Give this name").click()
    expect(page.locator(".named .state")).to_have_text("removed")
    expect(page.locator("h1")).to_have_text("Latent 3")
    assert houses.load().names.given == {}


def test_names_given_by_a_file_stand_on_every_page(houses, address, page):
    (houses.path / "notes.json").unlink(missing_ok=True)
    Notes(houses.path / "notes.json").rename({2: "far and cheap"}, weights_of(houses.path))
    for path in ("latent/2", "playground", "?q=far"):
        go(page, address + path)
        page.reload()
        if path == "playground":
            page.locator("#play-add").fill("2")
            page.locator(".play-add button").click()
            expect(page.locator('li[data-latent="2"]')).to_contain_text("far and cheap")
        elif path == "latent/2":
            expect(page.locator("h1")).to_have_text("Latent 2: far and cheap")
        else:
            expect(page.locator(".shown")).to_have_text(f"1 of {M} latents")
    (houses.path / "notes.json").unlink()


def test_the_group_is_told_and_asked_by(address, page):
    def answer(route):
        if route.request.resource_type == "document":  # the page has the address of its data
            return route.continue_()
        return route.fulfill(json=route.fetch().json() | {"group": "donor's"})

    page.route(address, answer)
    page.goto(address + "?sort=effect&goes=0")
    told = "Samples that share “donor's” are on one side of every split"
    expect(page.locator("main")).to_contain_text(told)
    page.goto(address + "latent/1")
    expect(page.locator("main")).to_contain_text("""--group 'donor'\\''s'""")
    page.unroute(address)
