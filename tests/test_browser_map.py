"""The map in a real browser: moved, pointed at, drawn around; by WebGL and without."""

from __future__ import annotations

import io
import json
import re
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image
from scipy.sparse import csr_array

from browser import WIDE, go
from simplecell.cli import run_command_line
from simplecell.explorer.export import export
from simplecell.explorer.export import page as page_text
from simplecell.explorer.make.code_shards import CodeShards
from simplecell.explorer.make.kept_codes import KeptCodes
from simplecell.explorer.serve.contrasted import _points

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
pytest_plugins = ["browser_fixtures"]

N = 400
"""Samples of the run `acts`."""
ASK = {"accept": "application/json"}


def opened(page, address):
    go(page, address)
    expect(page.locator(".map-plot[data-ready]")).to_be_visible()
    plot = page.locator(".map-plot")
    plot.evaluate("(one) => one.scrollIntoView({ block: 'center' })")  # a mouse needs it in sight
    return plot


def places(run, name="inputs"):
    return np.fromfile(run / "atlas" / f"map-{name}.bin", dtype="<f4").reshape(-1, 2)


def seen(plot, xy):
    """Where places [n, 2] are seen, in pixels of the plot, of the map as it opens."""
    box = plot.bounding_box()
    unit = 0.95 * min(box["width"] - 2, box["height"] - 2) / 2
    middle = np.array([box["width"], box["height"]]) / 2
    return middle + np.asarray(xy) * [unit, -unit]


def at(plot, point):
    """Pixels of the page of a pixel of the plot."""
    box = plot.bounding_box()
    return box["x"] + float(point[0]), box["y"] + float(point[1])


def draw(page, plot, corners):
    """Draw a line by the mouse."""
    page.mouse.move(*at(plot, corners[0]))
    page.mouse.down()
    for corner in [*corners[1:], corners[0]]:
        page.mouse.move(*at(plot, corner), steps=4)
    page.mouse.up()


def half(plot):
    """Corners around the left half."""
    box = plot.bounding_box()
    return [
        (6, 6),
        (box["width"] / 2, 6),
        (box["width"] / 2, box["height"] - 6),
        (6, box["height"] - 6),
    ]


def test_a_line_around_samples_tells_what_sets_them_apart(site, runs, page):
    plot = opened(page, site + "acts/data")
    expect(page.locator(".map-answer")).to_contain_text("Nothing is picked yet")
    page.get_by_role("button", name="Draw a line").click()
    draw(page, plot, half(plot))
    inside = int((seen(plot, places(runs["acts"]))[:, 0] < plot.bounding_box()["width"] / 2).sum())
    answer = page.locator(".map-answer")
    expect(answer.locator("h3")).to_contain_text(" others")
    picked, others = map(int, re.findall(r"\d+", answer.locator("h3").text_content()))
    assert abs(picked - inside) <= 2
    assert picked + others == N
    lines = answer.locator(".map-found tbody tr")
    assert lines.count() == 16
    first = lines.first.text_content()
    assert re.search(r"Latent \d+", first)
    assert "held out" in answer.locator("thead").first.text_content()
    number = re.search(r"Latent (\d+)", first)[1]
    lines.first.locator("a").click()
    expect(page.locator("h1")).to_have_text(f"Latent {number}")


def test_a_sample_is_pointed_at_opened_and_picked(site, runs, page):
    plot = opened(page, site + "acts/data")
    xy = places(runs["acts"])
    alone = int(np.argsort(-np.hypot(*xy.T))[0])
    page.mouse.move(*at(plot, seen(plot, xy[alone])))
    card = page.locator(".map-card")
    expect(card).to_be_visible()
    expect(card).to_contain_text(f"sample {alone}")
    expect(card).to_contain_text("topic: t")
    expect(card).to_contain_text(f"sample number {alone}")  # its own text, from the data
    page.mouse.click(*at(plot, seen(plot, xy[alone])))
    expect(page.locator(".map-sample > h3")).to_have_text(f"sample {alone}")
    expect(page.locator(".map-sample")).to_contain_text(f"t{alone % 3}")
    page.get_by_role("button", name="Pick or put back").click()
    expect(page.locator(".map-counts")).to_contain_text("1 picked")
    expect(page.locator(".map-answer")).to_contain_text("Pick at least 10")


def test_everything_can_be_done_by_the_keyboard(site, page):
    plot = opened(page, site + "acts/data")
    plot.focus()
    card = page.locator(".map-card")
    for key in ("+", "+", "ArrowLeft", "ArrowRight", "-"):
        page.keyboard.press(key)
    for _ in range(40):
        page.keyboard.press("ArrowUp")
        if card.is_visible():
            break
    page.keyboard.press("0")
    rows = page.get_by_placeholder("rows: 5, 10-20")
    rows.fill("0-99, 150")
    rows.press("Enter")
    expect(page.locator(".map-counts")).to_contain_text("101 picked")
    expect(page.locator(".map-answer h3")).to_have_text("101 samples against the 299 others")
    page.select_option("select.map-side", label="against these")
    page.locator(".map-key", has_text="t1").focus()
    page.keyboard.press("Enter")
    heading = page.locator(".map-answer h3")
    expect(heading).to_have_text(re.compile(r"\d+ samples against 13\d picked ones"))
    rows.fill("one, two")
    rows.press("Enter")
    expect(page.locator(".map-state")).to_contain_text("Rows are written like")
    page.get_by_role("button", name="clear").first.click()
    page.get_by_role("button", name="clear").first.click()
    expect(page.locator(".map-answer")).to_contain_text("Nothing is picked yet")


def test_samples_of_the_page_are_ticked(site, page):
    opened(page, site + "acts/data")
    boxes = page.locator(".judged .tick input")
    for k in range(12):
        boxes.nth(k).check()
    expect(page.locator(".map-counts")).to_contain_text("12 picked")
    expect(page.locator(".map-answer h3")).to_have_text("12 samples against the 388 others")
    boxes.first.uncheck()
    expect(page.locator(".map-counts")).to_contain_text("11 picked")


def test_colours_follow_records_numbers_and_latents(site, page):
    plot = opened(page, site + "acts/data")
    expect(page.locator(".map-legend .map-key")).to_have_count(3)
    page.select_option("select.map-colour", label="Error of the reconstruction")
    expect(page.locator(".map-legend .map-scale")).to_be_visible()
    low = page.locator(".map-range input").first
    low.fill("0")
    page.locator(".map-range button").click()
    expect(page.locator(".map-counts")).to_contain_text(f"{N} picked")
    expect(page.locator(".map-answer")).to_contain_text("and leave as many")
    page.select_option("select.map-colour", label="code of a latent")
    page.locator(".map-number").fill("5")
    page.locator(".map-number").press("Enter")
    expect(page.locator(".map-legend h3")).to_have_text("Latent 5")
    page.select_option("select.map-layout", label="samples, by their codes (PCA)")
    expect(plot).to_have_attribute("data-layout", "codes")
    page.select_option("select.map-layout", label="latents, by their atoms (PCA)")
    expect(plot).to_have_attribute("data-layout", "latents")
    expect(page.locator(".map-lasso")).to_have_count(0)


def test_a_click_on_a_latent_opens_it(site, runs, page):
    plot = opened(page, site + "edges/data")
    page.select_option("select.map-layout", label="latents, by their atoms (PCA)")
    expect(plot).to_have_attribute("data-layout", "latents")
    xy = places(runs["edges"], "latents")
    apart = np.hypot(*(xy[:, None] - xy[None]).transpose(2, 0, 1)) + 9 * np.eye(len(xy))
    alone = int(apart.min(1).argmax())
    page.mouse.move(*at(plot, seen(plot, xy[alone])))
    expect(page.locator(".map-card canvas")).to_be_visible()
    page.mouse.click(*at(plot, seen(plot, xy[alone])))
    expect(page.locator("h1")).to_have_text(f"Latent {alone}")


def test_a_picture_stands_beside_its_point(site, runs, page):
    plot = opened(page, site + "edges/data")
    xy = places(runs["edges"])
    alone = int(np.argsort(-np.hypot(*xy.T))[0])
    page.mouse.move(*at(plot, seen(plot, xy[alone])))
    expect(page.locator(".map-card canvas")).to_be_visible()
    page.mouse.click(*at(plot, seen(plot, xy[alone])))
    expect(page.locator(".map-sample canvas")).to_be_visible()
    # its photograph is the one of the atlas, whatever number a new reading gives it
    record = page.request.get(f"{site}edges/map/sample/{alone}", headers=ASK).json()
    photos = json.loads((runs["edges"] / "atlas" / "atlas.json").read_text())["photos"]
    assert photos[record["photo"]["photo"]]["name"] == record["about"]["file"]
    expect(page.locator(".map-sample .photo").first).to_be_visible()


def test_dragging_moves_and_the_wheel_waits_for_a_click(site, page):
    plot = opened(page, site + "acts/data")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    before = page.evaluate("scrollY")
    page.mouse.wheel(0, 120)
    for _ in range(50):
        if page.evaluate("scrollY") != before:
            break
        page.wait_for_timeout(50)
    assert page.evaluate("scrollY") != before
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 260, box["y"] + 230, steps=5)
    page.mouse.up()
    expect(page.locator(".map-sample")).to_be_empty()  # a drag is no click
    expect(page.locator(".map-counts")).to_be_empty()
    before = page.evaluate("scrollY")
    page.mouse.wheel(0, -240)
    page.wait_for_timeout(200)
    assert page.evaluate("scrollY") == before


def drawings(plot):
    return int(plot.get_attribute("data-drawings"))


def at_rest(page, plot):
    """Wait until the points are drawn where they are seen: no canvas is moved any more."""
    page.wait_for_timeout(50)
    expect(plot.locator(".map-points")).not_to_have_attribute("style", re.compile("transform"))


@contextmanager
def no_rest(page):
    """Time stands still on the page: what is moved is not drawn for being at rest."""
    page.evaluate("() => { const now = performance.now(); performance.now = () => now; }")
    yield
    page.evaluate("() => { delete performance.now; }")


def held(page, plot, across, down, steps=6):
    """Press the mouse in the middle and move it, without letting go."""
    box = plot.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + across, middle[1] + down, steps=steps)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_moved_shows_what_is_drawn_there_at_rest(site, page, scheme):
    page.emulate_media(color_scheme=scheme)
    plot = opened(page, site + "acts/data")
    page.get_by_role("button", name="Nearer", exact=True).click(click_count=2)
    at_rest(page, plot)
    before = drawings(plot)
    with no_rest(page):
        held(page, plot, 60, 30)
        moving = coloured(page)
        assert drawings(plot) == before  # a quarter beyond each edge is there already
    at_rest(page, plot)
    assert drawings(plot) == before + 1
    still = coloured(page)
    page.mouse.up()
    assert still.mean() > 0.001
    assert (moving & still).sum() > 0.99 * still.sum()
    assert (moving ^ still).sum() < 0.02 * still.sum()


def test_edges_that_are_uncovered_are_filled_while_one_still_moves(site, page):
    plot = opened(page, site + "acts/data")
    page.get_by_role("button", name="Nearer", exact=True).click(click_count=3)
    at_rest(page, plot)
    before = drawings(plot)
    with no_rest(page):
        held(page, plot, 330, 0, steps=12)
        page.wait_for_timeout(50)
        moving = coloured(page)
        assert drawings(plot) > before
    at_rest(page, plot)
    still = coloured(page)
    page.mouse.up()
    # the left half came from beyond the edge of what was seen
    left = slice(None), slice(0, still.shape[1] // 2)
    assert still[left].any()
    assert (moving & still)[left].sum() > 0.97 * still[left].sum()


def test_what_is_pointed_at_right_after_a_move_is_the_point_there(site, runs, page):
    plot = opened(page, site + "acts/data")
    xy = places(runs["acts"])
    alone = int(np.argsort(-np.hypot(*xy.T))[0])
    spot = seen(plot, xy[alone])
    held(page, plot, -40, 25)
    page.mouse.up()
    page.mouse.move(*at(plot, spot + np.array([-40, 25])))  # at once, before points are drawn anew
    card = page.locator(".map-card")
    expect(card).to_contain_text(f"sample {alone}")
    # the wheel brings what is under it nearer, and leaves it there
    page.mouse.wheel(0, -300)
    page.mouse.move(*at(plot, spot + np.array([-39, 25])))
    expect(card).to_contain_text(f"sample {alone}")
    page.mouse.click(*at(plot, spot + np.array([-40, 25])))
    expect(page.locator(".map-sample > h3")).to_have_text(f"sample {alone}")
    at_rest(page, plot)
    page.get_by_role("button", name="Draw a line").click()
    x, y = spot + np.array([-40, 25])
    draw(page, plot, [(x - 8, y - 8), (x + 8, y - 8), (x + 8, y + 8), (x - 8, y + 8)])
    expect(page.locator(".map-counts")).to_contain_text("1 picked")


@pytest.fixture
def touched(visit, site):
    """The map on a screen that is touched, and how fingers go to places [(x, y), ...] of it."""
    page = visit(site + "acts/data", has_touch=True)
    plot = page.locator(".map-plot[data-ready]")
    plot.wait_for()
    plot.evaluate("(one) => one.scrollIntoView({ block: 'center' })")
    session = page.context.new_cdp_session(page)

    def touch(kind, spots):
        points = [
            {"x": x, "y": y, "id": k} for k, (x, y) in enumerate(at(plot, spot) for spot in spots)
        ]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    plot.evaluate(
        """(one) => {
          window.came = [];
          one.addEventListener("pointerdown", (event) => window.came.push(event.pointerId));
        }"""
    )

    def lift(k):
        """One of two fingers goes, which the browser's own interface for tests cannot say."""
        plot.evaluate(
            """(one, k) => one.dispatchEvent(new PointerEvent(
              "pointerup", { pointerId: window.came[k], pointerType: "touch" }))""",
            k,
        )

    return page, plot, touch, lift


def test_two_fingers_come_nearer_and_one_moves(touched, runs):
    page, plot, touch, lift = touched
    xy = places(runs["acts"])
    alone = int(np.argsort(-np.hypot(*xy.T))[0])
    spot = seen(plot, xy[alone])
    box = plot.bounding_box()
    # spread 80 pixels to 160 around the sample, then go both towards the middle by 90
    way = np.sign(box["width"] / 2 - spot[0]) * np.array([90, 0])
    touch("touchStart", [spot - [40, 0]])
    touch("touchStart", [spot - [40, 0], spot + np.array([40, 0])])
    for part in (10, 20, 30, 40):
        touch("touchMove", [spot - [40 + part, 0], spot + np.array([40 + part, 0])])
    for part in (30, 60, 90):
        moved = spot + way * part / 90
        touch("touchMove", [moved - [80, 0], moved + np.array([80, 0])])
    lift(1)  # the other goes on, by 20 pixels down
    touch("touchMove", [moved - [80, -10]])
    touch("touchMove", [moved - [80, -20]])
    touch("touchEnd", [])
    assert page.locator(".map-sample").is_hidden() or not page.locator(".map-sample h3").count()
    last = moved + np.array([0, 20])
    page.mouse.move(*at(plot, last))
    expect(page.locator(".map-card")).to_contain_text(f"sample {alone}")
    # twice as near: another sample is twice as far from it
    others = np.argsort(np.hypot(*(xy - xy[alone]).T))[1:]
    unit = 2 * 0.95 * min(box["width"] - 2, box["height"] - 2) / 2
    for other in others:
        there = last + (xy[other] - xy[alone]) * [unit, -unit]
        inside = (
            (there > 20).all() and there[0] < box["width"] - 20 and there[1] < box["height"] - 20
        )
        apart = np.sort(np.hypot(*(xy - xy[other]).T))[1] * unit
        if inside and apart > 6:
            break
    page.mouse.move(*at(plot, there))
    expect(page.locator(".map-card")).to_contain_text(f"sample {other}")
    touch("touchStart", [there])
    touch("touchEnd", [])
    expect(page.locator(".map-sample > h3")).to_have_text(f"sample {other}")


def test_a_second_finger_ends_a_line_and_a_third_does_nothing(touched):
    page, plot, touch, _ = touched
    page.get_by_role("button", name="Draw a line").click()
    touch("touchStart", [(60, 60)])
    for x in (120, 180, 240):
        touch("touchMove", [(x, 60)])
    line = plot.locator("polygon")
    expect(line).to_have_attribute("points", re.compile(r"\d"))
    touch("touchStart", [(240, 60), (300, 200)])
    expect(line).to_have_attribute("points", "")
    touch("touchStart", [(240, 60), (300, 200), (200, 250)])
    touch("touchMove", [(240, 60), (300, 200), (100, 250)])
    touch("touchEnd", [])
    expect(page.locator(".map-counts")).to_be_empty()
    # one finger draws again
    touch("touchStart", [(6, 6)])
    for corner in half(plot)[1:]:
        touch("touchMove", [corner])
    touch("touchEnd", [])
    expect(page.locator(".map-counts")).to_contain_text("picked")


def test_what_comes_from_data_stays_text_on_the_map(site, page):
    opened(page, site + "table/data")
    page.locator(".map-plot").focus()
    assert page.locator("img[src='x']").count() == 0


def test_the_map_speaks_chinese_and_fits_a_phone(site, visit):
    page = visit(
        site + "acts/data",
        locale="zh-CN",
        viewport={"width": 360, "height": 740},
        color_scheme="dark",
    )
    expect(page.locator(".map h2")).to_have_text("地图")
    expect(page.locator(".map-plot[data-ready]")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_server_that_refuses_is_told(site, page):
    opened(page, site + "acts/data")
    page.route(
        "**/contrast",
        lambda route: route.fulfill(
            status=200, content_type="application/json", body=json.dumps({"nothing": 1})
        ),
    )
    page.get_by_placeholder("rows: 5, 10-20").fill("0-99")
    page.get_by_role("button", name="Pick", exact=True).first.click()
    expect(page.locator(".map-answer .notice")).to_be_visible()


def test_an_exported_map_says_what_to_run(runs, tmp_path, visit):
    folder = export([runs["acts"]], tmp_path / "site").parent
    page = visit(f"{folder.as_uri()}/index.html#/acts/data", accept_downloads=True)
    plot = page.locator(".map-plot[data-ready]")
    expect(plot).to_be_visible()
    page.get_by_role("button", name="Draw a line").click()
    draw(page, plot, half(plot))
    answer = page.locator(".map-answer")
    expect(answer.locator("code")).to_have_text("simplecell explain RUN DATA --rows @these.txt")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the rows picked").click()
    path = tmp_path / "these.txt"
    download.value.save_as(path)
    lines = path.read_text().splitlines()
    assert lines[0] == "row"
    assert len(lines) > 100
    data = runs["acts"].parent / "acts.npy"
    told = run_command_line(
        [
            "explain",
            str(runs["acts"]),
            str(data),
            "--rows",
            f"@{path}",
            "--meta",
            str(runs["acts"].parent / "meta.jsonl"),
        ]
    )
    assert told == 0


@pytest.mark.parametrize("one_file", [False, True])
def test_a_site_without_a_server_is_coloured_by_a_latent(runs, site, tmp_path, visit, one_file):
    if one_file:
        path = tmp_path / "acts.html"
        path.write_text(page_text([runs["acts"]]), encoding="utf-8")
    else:
        path = export([runs["acts"]], tmp_path / "site")
    page = visit(f"{path.as_uri()}#/acts/data")
    expect(page.locator(".map-plot[data-ready]")).to_be_visible()
    page.select_option("select.map-colour", label="code of a latent")
    page.locator(".map-number").fill("5")
    page.locator(".map-number").press("Enter")
    expect(page.locator(".map-legend h3")).to_have_text("Latent 5")
    shown = float(page.locator(".map-range input").nth(1).input_value())
    answer = page.request.get(f"{site}acts/map/latent/5")
    column = np.frombuffer(answer.body(), dtype="<f4")
    assert shown == pytest.approx(np.nanmax(column), rel=1e-4)
    # picked by its code as the server would pick
    low = float(np.sort(column)[-20]) * 0.999
    page.locator(".map-range input").first.fill(str(low))
    page.locator(".map-range button").click()
    expect(page.locator(".map-counts")).to_contain_text(f"{int((column >= low).sum())} picked")


SOFTWARE = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
"""With these the browser has WebGL where there is no graphics card."""


@pytest.fixture
def software(chromium):
    """A page of a browser that draws WebGL by the processor."""
    browser = chromium.browser_type.launch(
        executable_path=shutil.which("chromium") or shutil.which("chromium-browser"),
        args=[*SOFTWARE, "--disable-background-networking", "--no-first-run"],
    )
    yield browser.new_page(viewport=WIDE, locale="en-US")
    browser.close()


def pictured(page):
    """The map as its picture shows it, [h, w, 3]."""
    picture = Image.open(io.BytesIO(page.locator(".map-plot").screenshot())).convert("RGB")
    return np.asarray(picture, dtype=int)[4:-4, 4:-4]


def coloured(page):
    """Which pixels of the map's canvas are not those of the empty page, as its picture shows."""
    pixels = pictured(page)
    return np.abs(pixels - pixels[0, 0]).max(2) > 24


def test_a_picture_by_webgl_is_moved_where_the_processor_draws(site, software):
    plot = opened(software, site + "acts/data?draw=webgl")
    at_rest(software, plot)
    before = drawings(plot)
    with no_rest(software):
        held(software, plot, 60, 30)
        moving = coloured(software)
        assert drawings(plot) == before
    at_rest(software, plot)
    still = coloured(software)
    software.mouse.up()
    assert drawings(plot) == before + 1
    assert (moving & still).sum() > 0.97 * still.sum()


def test_webgl_and_a_plain_canvas_show_the_same_points(site, page, software):
    expect(opened(page, site + "edges/data")).to_have_attribute("data-way", "canvas")
    opened(software, site + "edges/data?draw=webgl")
    expect(software.locator(".map-plot")).to_have_attribute("data-way", "webgl")
    first, second = coloured(page), coloured(software)
    assert first.shape == second.shape
    assert 0.001 < first.mean() < 0.5
    # squares on a canvas, discs by WebGL: the same places but for their rims
    both = (first & second).sum() / min(first.sum(), second.sum())
    assert both > 0.8


ON_TOP = """async ([base, order]) => {
  const { canvasPainter } = await import(`${base}static/map/canvas.js`);
  const { webglPainter } = await import(`${base}static/map/webgl.js`);
  const view = { x: 0, y: 0, unit: 10, width: 20, height: 20 };
  const painters = [canvasPainter(), webglPainter(() => {}, true)];
  return painters.map((painter) => {
    [painter.canvas.width, painter.canvas.height] = [20, 20];
    painter.place(new Float32Array(4)); // two points in the middle
    const colours = Uint8Array.from([255, 0, 0, 255, 0, 0, 255, 255]);
    painter.colour(colours, order && Uint32Array.from(order));
    for (const _ of painter.drawing(view, 6));
    const { gl } = painter;
    if (!gl) return [...painter.canvas.getContext("2d").getImageData(10, 10, 1, 1).data];
    const pixel = new Uint8Array(4);
    gl.readPixels(10, 10, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
    return [...pixel];
  });
}"""


@pytest.mark.parametrize("order", [None, [0, 1], [1, 0]])
def test_both_ways_draw_in_the_order_that_is_asked_for(site, software, order):
    opened(software, site + "acts/data?draw=webgl")
    last = 0 if order == [1, 0] else 1
    wanted = [[255, 0, 0, 255], [0, 0, 255, 255]][last]
    assert software.evaluate(ON_TOP, [site, order]) == [wanted, wanted]


def test_an_order_of_a_latent_gives_way_to_a_class(site, page):
    plot = opened(page, site + "acts/data")
    first = pictured(page)
    for label, heading in (("code of a latent", "Latent 0"), ("topic", "topic")):
        page.select_option("select.map-colour", label=label)
        expect(page.locator(".map-legend h3")).to_have_text(heading)
    at_rest(page, plot)
    assert (pictured(page) == first).all()


def test_a_lost_graphics_card_leaves_a_plain_canvas(site, software):
    plot = opened(software, site + "acts/data?draw=webgl")
    expect(plot).to_have_attribute("data-way", "webgl")
    software.evaluate(
        """document.querySelector(".map-points").getContext("webgl2")
          .getExtension("WEBGL_lose_context").loseContext()"""
    )
    expect(plot).to_have_attribute("data-way", "canvas")
    assert coloured(software).any()


MODULE = """async ([count, corners]) => {
  const { Cells, within } = await import("/map/near.js");
  let seed = 1;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  const places = Float32Array.from({ length: 2 * count }, () => 2 * random() - 1);
  const cells = new Cells(places);
  const asked = Array.from({ length: 200 }, () => [2.2 * random() - 1.1, 2.2 * random() - 1.1]);
  return {
    places: [...places], asked, nearest: asked.map(([x, y]) => cells.nearest(x, y, 0.05)),
    within: [...within(places, corners)],
  };
}"""


def test_the_nearest_point_and_those_within_a_line_are_the_obvious_ones(modules):
    corners = [[-0.6, -0.7], [0.7, -0.4], [0.1, 0.0], [0.8, 0.9], [-0.9, 0.6]]
    found = modules.evaluate(MODULE, [3000, corners])
    xy = np.array(found["places"]).reshape(-1, 2)
    for (x, y), nearest in zip(found["asked"], found["nearest"], strict=True):
        away = np.hypot(*(xy - [x, y]).T)
        assert nearest == (int(away.argmin()) if away.min() <= 0.05 else -1)
    inside = matplotlib_path(corners).contains_points(xy)
    assert found["within"] == np.flatnonzero(inside).tolist()
    assert 500 < inside.sum() < 2500


def matplotlib_path(corners):
    from matplotlib.path import Path

    return Path([*corners, corners[0]], closed=True)


MOVED = """async ([fast, slices, moves]) => {
  const { Picture } = await import("/map/picture.js");
  const { View } = await import("/map/view.js");
  const seen = [];
  const painter = {
    canvas: document.createElement("canvas"), fast, slices,
    *drawing(what, size) {
      for (let part = 0; part < 3; part += 1) {
        const end = performance.now() + 7; // longer than a slice: one part a frame
        while (performance.now() < end);
        if (slices) yield;
      }
      seen.push({ ...what, size });
    },
  };
  const view = new View();
  view.resize(400, 200);
  const picture = new Picture(painter);
  picture.resize(view, 1);
  picture.draw(view, 3);
  const told = moves.map(([across, down, factor, still]) => {
    view.pan(across, down);
    view.nearer(factor);
    const more = picture.follow(view, 3, still);
    return [picture.drawings, more, painter.canvas.style.transform];
  });
  const { x, y, unit } = view;
  return { told, seen, width: painter.canvas.width, view: { x, y, unit } };
}"""


def followed(modules, moves, fast=False, slices=True):
    """How often a picture was drawn, whether it wants a frame, and how it is moved."""
    return modules.evaluate(MOVED, [fast, slices, moves])


def test_a_graphics_card_draws_every_frame_and_no_more_than_is_seen(modules):
    found = followed(modules, [[10, 5, 1, 0], [30, 0, 1, 0]], fast=True, slices=False)
    assert found["told"] == [[2, False, ""], [3, False, ""]]
    assert found["width"] == 400
    assert found["seen"][-1]["width"] == 400


def test_a_picture_is_moved_and_drawn_in_parts_before_its_edge_comes_in(modules):
    found = followed(
        modules, [[40, 20, 1, 0], [-5, 0, 1, 0], [20, -20, 1, 0], *[[10, 0, 1, 0]] * 3]
    )
    assert found["width"] == 600  # a quarter beyond each edge
    assert found["told"][0] == [1, True, "translate(40px, 20px) scale(1)"]
    assert found["told"][1] == [1, True, "translate(35px, 20px) scale(1)"]
    # half of 100 pixels are left at 55: three parts in as many frames, of where it stood then
    assert [drawings for drawings, *_ in found["told"][2:]] == [1, 1, 1, 2]
    assert found["told"][-1][2] == "translate(30px, 0px) scale(1)"
    last = found["seen"][-1]
    assert last["unit"] * last["x"] == pytest.approx(-55)


def test_at_rest_points_are_drawn_where_they_are(modules):
    found = followed(modules, [[10, 0, 1, 0], [0, 0, 1, 100], *[[0, 0, 1, 200]] * 5])
    assert [told[0] for told in found["told"]] == [1, 1, 1, 1, 1, 2, 2]
    assert found["told"][-1] == [2, False, ""]
    assert {name: found["seen"][-1][name] for name in ("x", "y", "unit")} == found["view"]


@pytest.mark.parametrize("factor", [1.1, 1 / 1.1])
def test_a_picture_is_scaled_and_drawn_anew_beyond_a_quarter(modules, factor):
    found = followed(modules, [[0, 0, factor, 0], [0, 0, factor, 0], *[[0, 0, factor, 0]] * 4])
    first, second, *rest = found["told"]
    assert float(re.search(r"scale\((.*)\)", first[2])[1]) == pytest.approx(factor)
    assert second[0] == 1
    assert rest[-1][0] == 2


def test_one_drawing_at_once_covers_an_edge_that_is_uncovered(modules):
    found = followed(modules, [[0, 40, 1, 0], [0, 20, 1, 0]], slices=False)
    assert [told[0] for told in found["told"]] == [1, 2]
    assert found["told"][-1] == [2, False, ""]


ORDER = """async (values) => {
  const { strongestLast } = await import("/map/colours.js");
  return [...strongestLast(Float32Array.from(values, (value) => value ?? NaN))];
}"""


@pytest.mark.parametrize("values", [[0, 2, None, -3, 0, 1, None, 2.5], [None, None], [0, 0], []])
def test_strong_codes_are_drawn_over_weak_ones_and_those_over_unknown(modules, values):
    order = modules.evaluate(ORDER, values)
    strength = [-1 if value is None else abs(value) for value in values]
    assert order == sorted(range(len(values)), key=lambda k: strength[k])


SPREAD = """async ([told, shard, at, count]) => {
  const { spread } = await import("/map/codes.js");
  return [...spread(told, shard, at, count)].map((value) => (Number.isNaN(value) ? null : value));
}"""


def test_codes_of_some_samples_leave_the_others_unknown(modules):
    rng = np.random.default_rng(0)
    codes = csr_array(rng.random((40, 5)) * (rng.random((40, 5)) < 0.4)).astype(np.float32)
    points = np.arange(40) * 2
    shards = CodeShards(KeptCodes(points, codes), 90, 40)
    kept = shards.points
    assert 10 < len(kept) < 40
    (shard,) = shards
    for latent in (0, 4):
        found = modules.evaluate(SPREAD, [shards.told(), shard, latent, 90])
        known = [point for point, value in enumerate(found) if value is not None]
        assert known == kept.tolist()
        wanted = codes.toarray()[kept // 2, latent]
        np.testing.assert_allclose([found[k] for k in known], wanted, atol=1e-4)


RANGES = """async () => {
  const { Picks, ranges, THESE } = await import("/map/picks.js");
  const picks = new Picks(20, () => {});
  picks.put(THESE, [0, 3, 9, 19]);
  const said = ["5, 10-12", "7–9", "", "a", "1-2-3", "1,"];
  return { bits: picks.bits(THESE), ranges: said.map(ranges) };
}"""


def test_rows_are_read_and_bits_are_written_as_the_server_reads_them(modules):
    found = modules.evaluate(RANGES)
    assert found["ranges"] == [[[5, 5], [10, 12]], [[7, 9]], None, None, None, None]
    assert np.flatnonzero(_points("rows", found["bits"], 20)).tolist() == [0, 3, 9, 19]
