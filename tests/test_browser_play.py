"""The playground in a real browser: its mathematics are Python's, and a person can use it."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from browser import go, serving
from play_models import (
    ACTIVATIONS,
    CHAINS,
    OUTPUTS,
    deep_of,
    samples,
    shake,
    trained_of,
    transcoder,
    wide,
)
from play_runs import clock, train
from simplecell import JumpReLUSparseAutoencoder, TopKSparseAutoencoder
from simplecell.cli import run_command_line
from simplecell.data.images import halve, to_grey, whiten_1_over_f
from simplecell.data.planted import planted_dictionary
from simplecell.explorer.export import export
from simplecell.explorer.export import page as whole_page
from simplecell.explorer.make.playground import describe
from simplecell.explorer.serve.embed import Embedder
from simplecell.model.autoencoder import Autoencoder
from simplecell.model.codes import Codes
from simplecell.run.build import all_data
from simplecell.run.directory import Run

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
pytest_plugins = ["browser_fixtures"]

SCALES = {"0": 0.0, "2": 2.5}

FLOATS = """
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const floats = (text) => new Float32Array(bytes(text).buffer);
"""
ENGINE = f"""async (cases) => {{
  {FLOATS}
  const {{ Engine }} = await import("/play/engine.js");
  return cases.map(({{ play, weights, x, n, scales }}) => {{
    const engine = new Engine(play, floats(weights).buffer);
    const given = floats(x);
    const plain = engine.run(given, n);
    const turned = engine.run(given, n, scales);
    return [plain, turned].map((answer) =>
      Object.fromEntries(Object.entries(answer).map(([key, value]) => [key, Array.from(value)])));
  }});
}}"""


def packed(array):
    return base64.b64encode(np.ascontiguousarray(array, dtype="<f4").tobytes()).decode()


def case(trained, x):
    play, weights = describe(trained)
    return {
        "play": json.loads(json.dumps(play)),
        "weights": packed(weights),
        "x": packed(x),
        "n": len(x),
        "scales": SCALES,
    }


@torch.no_grad()
def expected(trained, x, scales):
    """What Python says, in the shapes of the engine's answer."""
    prepared, carried = trained.preprocess.apply(torch.tensor(x))
    code = trained.model.encode(prepared)[1].dense
    factor = torch.ones(trained.model.n_latents)
    for latent, scale in scales.items():
        factor[int(latent)] = scale
    recon = trained.model.decode(Codes(code * factor))
    back = trained.recon_preprocess
    given = back.invert(recon, None if trained.target_preprocess else carried)
    return {"code": code, "recon": given, "prepared": prepared, "preparedRecon": recon}


def agree(page, cases):
    answers = page.evaluate(ENGINE, [case(trained, x) for trained, x in cases])
    for (trained, x), both in zip(cases, answers, strict=True):
        for scales, answer in zip(({}, SCALES), both, strict=True):
            for name, wanted in expected(trained, x, scales).items():
                wanted = wanted.numpy().ravel()
                size = np.abs(wanted).max()
                np.testing.assert_allclose(
                    answer[name], wanted, rtol=1e-5, atol=1e-5 * max(size, 1e-3), err_msg=name
                )


@pytest.mark.parametrize("chain", CHAINS)
def test_every_activation_and_output_is_pythons(modules, chain):
    kinds = [*itertools.product(ACTIVATIONS, OUTPUTS)]
    if chain != "none":  # a chain knows nothing of the layers behind it: each activation once
        kinds = [*zip(ACTIVATIONS, itertools.cycle(OUTPUTS), strict=False)]
    agree(modules, [(trained_of(*kind, chain), samples(11, seed=5)) for kind in kinds])


def test_tied_deep_and_transcoding_models_are_pythons(modules):
    x = samples(9, seed=6)
    agree(
        modules,
        [
            (trained_of("relu", tied=True, pre_bias=True, chain="modern"), x),
            (deep_of(), x),
            (deep_of(["tanh", "sigmoid", "relu"], chain="zca"), x),
            (transcoder(), x),
        ],
    )


def test_one_sample_and_codes_of_zero(modules):
    trained = wide(Autoencoder(5, 3, activation="topk", output="linear", k=2))
    agree(modules, [(trained, np.ones((1, 5), dtype=np.float32))])


EXACT = f"""async (cases) => {{
  {FLOATS}
  const {{ Engine }} = await import("/play/engine.js");
  return cases.map(({{ play, weights, x, n }}) => {{
    const engine = new Engine(play, floats(weights).buffer);
    engine.choose("exact");
    const given = floats(x);
    const {{ code, recon }} = engine.run(given, n);
    const start = performance.now();
    engine.run(given.slice(0, given.length / n), 1);
    return [Array.from(code), Array.from(recon), performance.now() - start];
  }});
}}"""
ESTIMATORS = {
    "topk": lambda: TopKSparseAutoencoder(40, k=3, codes="exact", max_samples=30_000),
    "abstopk": lambda: TopKSparseAutoencoder(
        40, k=3, codes="exact", max_samples=30_000, signed=True
    ),
    "jumprelu": lambda: JumpReLUSparseAutoencoder(
        40, target_l0=3, codes="exact", max_samples=30_000
    ),
}


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_exact_codes_are_those_of_encode(modules, kind, tmp_path):
    """As the file that `encode --codes exact` writes, at the same α."""
    planted = planted_dictionary(1000, 16, 40, 3)
    x = np.float32(planted.x * np.random.default_rng(0).choice([-1, 1], (1000, 1)))
    np.save(tmp_path / "x.npy", x[:60])
    ESTIMATORS[kind]().set_params(random_state=0).fit(x).save(tmp_path / "run")
    run = Run(tmp_path / "run")
    words = [str(run.path), str(tmp_path / "x.npy"), "--out", str(tmp_path / "codes.npy")]
    assert run_command_line(["encode", *words, "--codes", "exact"]) == 0
    wanted, trained = np.load(tmp_path / "codes.npy"), run.load()
    assert bool((wanted < 0).any()) == (kind == "abstopk")
    play, weights = describe(trained, trained.info["exact_alpha"])
    given = {"play": json.loads(json.dumps(play)), "weights": packed(weights), "x": packed(x[:60])}
    ((code, recon, milliseconds),) = modules.evaluate(EXACT, [{**given, "n": 60}])
    np.testing.assert_allclose(np.reshape(code, wanted.shape), wanted, atol=1e-4)
    again = trained.module().decode(torch.tensor(wanted)).numpy()
    np.testing.assert_allclose(np.reshape(recon, again.shape), again, atol=1e-3)
    assert milliseconds < 200


def test_codes_are_chosen_in_the_page(page, tmp_path):
    planted = planted_dictionary(600, 16, 40, 3)
    np.save(tmp_path / "x.npy", np.float32(planted.x))
    settings = ("model.n_latents=40", "model.target_l0=3", "train.max_samples=6000")
    run = train(tmp_path / "x.npy", tmp_path / "run", "abstopk", *settings)
    with serving(run.path) as address:
        place(page, f"{address}run/playground?sample=3")
        error, chosen = page.locator(".play-error"), page.get_by_label("Codes", exact=True)
        expect(chosen).to_have_value("encoder")
        quick = error.inner_text()
        chosen.select_option("exact")
        expect(error).not_to_have_text(quick)
        expect(page).to_have_url(re.compile("codes=exact"))
        page.reload()
        expect(page.get_by_label("Codes", exact=True)).to_have_value("exact")
        expect(error).not_to_have_text(quick)
        page.get_by_label("Codes", exact=True).select_option("encoder")
        expect(error).to_have_text(quick)
        page.goto("about:blank")  # before its server goes


SPEED = f"""async ({{ play, weights, x }}) => {{
  {FLOATS}
  const {{ Engine }} = await import("/play/engine.js");
  const engine = new Engine(play, floats(weights).buffer);
  const times = [];
  for (let k = 0; k < 30; k += 1) {{
    const given = floats(x);
    const start = performance.now();
    engine.run(given, 1, {{ 3: 0 }});
    times.push(performance.now() - start);
  }}
  return times.sort((a, b) => a - b)[15];
}}"""


def test_a_digit_is_answered_at_once(modules):
    model = Autoencoder(784, 196)
    shake(model, 0)
    x = np.random.default_rng(0).random((1, 784), dtype=np.float32)
    milliseconds = modules.evaluate(SPEED, case(wide(model, shape=(28, 28)), x))
    assert milliseconds < 50


# Pictures


def ask(page, module, expression, **values):
    """What an expression over a module's names gives, arrays as lists."""
    code = f"""async (given) => {{
      {FLOATS}
      const m = await import("/{module}.js");
      const picture = (one) => ({{ ...one, values: floats(one.values) }});
      const listed = (found) => ArrayBuffer.isView(found) ? Array.from(found)
        : found?.values ? {{ ...found, values: Array.from(found.values) }} : found;
      return listed(await ({expression})(m, given, picture, bytes));
    }}"""
    return page.evaluate(code, values)


def as_picture(values):
    height, width, channels = values.reshape(*values.shape[:2], -1).shape
    size = {"height": height, "width": width, "channels": channels}
    return {**size, "values": packed(values)}


@pytest.mark.parametrize("shape", [(31, 40), (24, 17), (32, 16), (1, 7), (20, 20, 3)])
def test_whitening_and_grey_are_pythons(modules, shape):
    values = np.random.default_rng(3).random(shape, dtype=np.float32).cumsum(0) / shape[0]
    found = ask(
        modules, "play/whiten", "(m, g, p) => m.whitened(p(g.x), 0.4)", x=as_picture(values)
    )
    channels = values.reshape(*shape[:2], -1)
    wanted = [whiten_1_over_f(channels[:, :, c]) for c in range(channels.shape[2])]
    wanted = np.stack(wanted, axis=2).ravel()
    np.testing.assert_allclose(found["values"], wanted, rtol=1e-4, atol=1e-4)
    grey = ask(modules, "play/pictures", "(m, g, p) => m.toGrey(p(g.x))", x=as_picture(values))
    np.testing.assert_allclose(grey["values"], to_grey(values).ravel(), rtol=1e-5)


def test_a_constant_picture_whitens_to_zeros(modules):
    flat = as_picture(np.full((12, 14), 0.3, dtype=np.float32))
    found = ask(modules, "play/whiten", "(m, g, p) => m.whitened(p(g.x), 0.4)", x=flat)
    assert not any(found["values"])


def test_smaller_pictures_are_means(modules):
    values = np.random.default_rng(4).random((301, 515), dtype=np.float32)
    found = ask(
        modules, "play/pictures", "(m, g, p) => m.shrunk(p(g.x), 260)", x=as_picture(values)
    )
    assert (found["height"], found["width"]) == (150, 257)
    np.testing.assert_allclose(found["values"], halve(values).ravel(), rtol=1e-4)
    found = ask(
        modules, "play/pictures", "(m, g, p) => m.resized(p(g.x), 7, 5)", x=as_picture(values)
    )
    assert np.mean(found["values"]) == pytest.approx(values.mean(), abs=1e-4)


def test_patches_make_their_picture_again(modules):
    values = np.random.default_rng(5).random((12, 20, 3), dtype=np.float32)
    rows = ask(
        modules, "play/pictures", "(m, g, p) => m.toPatches(p(g.x), 4)", x=as_picture(values)
    )
    wanted = values.reshape(3, 4, 5, 4, 3).transpose(0, 2, 1, 3, 4).ravel()
    np.testing.assert_array_equal(np.float32(rows), wanted)
    back = "(m, g, p) => m.fromPatches(m.toPatches(p(g.x), 4), 4, 5, 3)"
    found = ask(modules, "play/pictures", back, x=as_picture(values))
    np.testing.assert_array_equal(np.float32(found["values"]), values.ravel())


def test_ink_is_centred_as_in_mnist(modules):
    ink = np.zeros((280, 280), dtype=np.float32)
    ink[10:110, 200:230] = 1
    found = ask(modules, "play/drawing", "(m, g, p) => m.centred(p(g.x), 28)", x=as_picture(ink))
    digit = np.array(found).reshape(28, 28)
    inked = np.nonzero(digit > 0.5)[0]
    assert (inked.min(), inked.max()) == (4, 23)
    middle = (digit * np.arange(28)).sum() / digit.sum()
    assert abs(middle - 13.5) <= 0.5
    nothing = as_picture(np.zeros((40, 40), dtype=np.float32))
    assert ask(modules, "play/drawing", "(m, g, p) => m.centred(p(g.x), 28)", x=nothing) is None


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "LOSSLESS"])
def test_sizes_are_read_without_decoding(modules, kind):
    options = {"lossless": True} if kind == "LOSSLESS" else {}
    content = encoded(Image.new("RGB", (123, 45)), kind.replace("LOSSLESS", "WEBP"), **options)
    given = base64.b64encode(content).decode()
    found = ask(modules, "play/pictures", "(m, g, p, bytes) => m.sizeOf(bytes(g.x))", x=given)
    assert found == {"width": 123, "height": 45}


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


# The page


def code_of(page):
    return page.locator(".play-latents li")


def numbers(page):
    """The error before and after."""
    found = re.findall(r"(?:Squared error|with your changes) (\d+(?:\.\d+)?)", told(page))
    return [float(number) for number in found]


def told(page):
    return page.locator(".play-error").inner_text()


def place(page, address):
    go(page, address)
    expect(code_of(page).first).to_be_visible()
    return page


def test_a_latent_is_switched_off_and_on_again(page, site):
    place(page, f"{site}digits/playground")
    expect(page.locator(".play-effect")).to_be_hidden()
    first = code_of(page).first
    latent = first.get_attribute("data-latent")
    first.locator(".play-off").click()
    expect(page).to_have_url(re.compile(rf"\?off={latent}"))
    expect(page.locator(".play-error")).to_contain_text("with your changes")
    expect(first.locator(".play-value")).to_contain_text("→ 0")
    expect(page.locator(".play-effect")).to_be_visible()
    page.reload()
    expect(code_of(page).first).to_have_attribute("data-latent", latent)
    expect(code_of(page).first.locator(".play-off")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Undo all changes").click()
    expect(page.locator(".play-error")).not_to_contain_text("with your changes")


def test_what_is_shown_is_what_python_says(page, site, runs):
    run = Run(runs["digits"])
    trained, data = run.load(), json.loads((run.path / "atlas" / "data.json").read_text())
    samples = np.fromfile(run.path / "atlas" / "samples.bin", dtype="<f4").reshape(-1, 400)
    place(page, f"{site}digits/playground?sample=5&off=2&turn=7:2.5")
    x = samples[data["samples"][5]["at"]][None]
    both = expected(trained, x, {}), expected(trained, x, {"2": 0, "7": 2.5})
    errors = [float(((one["prepared"] - one["preparedRecon"]) ** 2).sum()) for one in both]
    expect(page.locator(".play-error")).to_contain_text("with your changes")
    assert numbers(page) == pytest.approx(errors, rel=0.01)
    strongest = int(both[0]["code"][0].argmax())
    expect(page.locator(f".play-latents [data-latent='{strongest}']")).to_be_visible()


def details_of(run):
    lines = (run / "atlas" / "details.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


LOUDEST = """(canvas) => {
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  const loud = (_, at) => Math.abs(data[4 * at] - data[4 * at + 2]);
  return Math.max(...Array.from({ length: width * height }, loud));
}"""


def test_both_differences_have_one_scale(page, site, runs):
    run = runs["digits"]
    play = json.loads((run / "atlas" / "playground.json").read_text())
    data = json.loads((run / "atlas" / "data.json").read_text())
    samples = np.fromfile(run / "atlas" / "samples.bin", dtype="<f4").reshape(-1, 400)
    x = samples[data["samples"][9]["at"]][None]
    place(page, f"{site}digits/playground?sample=9&off=3")
    expect(page.locator(".play-error")).to_contain_text("with your changes")
    plain, turned = (expected(Run(run).load(), x, off)["recon"] for off in ({}, {"3": 0}))
    half = (play["high"] - play["low"]) / 2
    for kind, change in (("effect", turned - plain), ("difference", turned - torch.tensor(x))):
        loudest = page.locator(f".play-{kind} canvas").evaluate(LOUDEST)
        share = min(1.0, float(change.abs().max()) / half)
        assert 137 * share - 3 <= loudest <= 199 * share + 3


def test_a_latent_that_is_hardly_active_is_told_so(page, site, runs):
    samples = np.fromfile(runs["acts"] / "atlas" / "samples.bin", dtype="<f4").reshape(-1, 40)
    data = json.loads((runs["acts"] / "atlas" / "data.json").read_text())["samples"]
    code = expected(Run(runs["acts"]).load(), samples, {})["code"].numpy()
    latent = int(code.max(0).argmax())
    idle = next(k for k, one in enumerate(data) if code[one["at"], latent] == 0)
    place(page, f"{site}acts/playground?sample={idle}&off={latent}")
    expect(page.locator(".play-hints")).to_contain_text(f"Latent {latent} is hardly active here")
    page.get_by_role("button", name=f"Show what excites latent {latent}").click()
    expect(page.locator(".play-hints")).to_be_hidden()
    expect(code_of(page).first.locator(".play-value")).not_to_contain_text("code 0 ")


def test_the_page_opens_where_the_latent_is_active(page, site, runs):
    for name in ("edges", "acts"):
        latent = max(details_of(runs[name]), key=lambda one: one["top"][0]["value"])
        place(page, f"{site}{name}/playground?off={latent['latent']}")
        value = code_of(page).first.locator(".play-value").inner_text()
        found = float(re.search(r"code ([\d.]+)", value)[1])
        assert found > 0.4 * latent["top"][0]["value"]
    place(page, f"{site}digits/playground")
    data = json.loads((runs["digits"] / "atlas" / "data.json").read_text())
    errors = [one["error"] for one in data["samples"] if one["group"] == "spread"]
    assert numbers(page)[0] == pytest.approx(np.median(errors), rel=0.1)


def test_a_person_draws(page, site):
    place(page, f"{site}digits/playground")
    before = told(page)
    box = page.locator(".play-draw").bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 70, steps=5)
    page.mouse.move(box["x"] + 100, box["y"] + 220, steps=5)
    page.mouse.up()
    expect(page.locator(".play-error")).not_to_have_text(before)
    page.get_by_role("button", name="Clear").click()
    page.locator(".play-thumbnail").nth(3).focus()
    page.keyboard.press("Enter")
    expect(page.locator(".play-thumbnail").nth(3)).to_have_attribute("aria-pressed", "true")


def test_pictures_are_taken_with_care(page, site):
    place(page, f"{site}edges/playground")
    gigapixel = encoded(Image.new("L", (20, 20)))
    size = (40_000).to_bytes(4, "big") + (30_000).to_bytes(4, "big")
    hostile = {
        "giga.png": (gigapixel[:16] + size + gigapixel[24:], "50 megapixels"),
        "text.png": (b"<script>alert(1)</script>" * 9, "not a picture"),
        "half.png": (encoded(Image.effect_noise((90, 90), 50))[:900], "broken"),
        "small.png": (encoded(Image.new("L", (40, 5))), "smaller than one patch"),
    }
    for name, (content, sentence) in hostile.items():
        page.set_input_files(
            "#play-file", {"name": name, "mimeType": "image/png", "buffer": content}
        )
        expect(page.locator(".play-file .play-told")).to_contain_text(sentence)
    good = encoded(Image.effect_noise((300, 200), 60).convert("RGB"), "JPEG")
    page.set_input_files("#play-file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": good})
    expect(page.locator(".play-file .play-told")).to_have_text("")
    expect(page.locator(".play-photo")).to_have_attribute("width", "150")


def test_a_region_is_moved_and_a_patch_chosen(page, site):
    place(page, f"{site}edges/playground")
    expect(page.locator(".play-photo")).to_be_visible()
    before = told(page)
    page.locator(".play-photo").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".play-error")).not_to_have_text(before)
    page.select_option("#play-size", "4")
    expect(page.locator(".play-right")).to_contain_text("mean over all 16 patches")
    page.locator(".play-input canvas").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".play-right")).to_contain_text("row 1, column 2")
    page.locator(".play-difference canvas").click(position={"x": 5, "y": 5})
    expect(page.locator(".play-right")).to_contain_text("row 1, column 1")
    page.get_by_role("button", name="All patches").click()
    expect(page.locator(".play-right")).to_contain_text("mean over all 16 patches")


def test_a_row_is_edited(page, site, runs):
    trained = Run(runs["table"]).load()
    place(page, f"{site}table/playground")
    fields = page.locator(".play-edit input[type=number]")
    for at, value in enumerate([1.5, 2, 3, 4, 5]):
        fields.nth(at).fill(str(value))
    wanted = expected(trained, np.float32([[1.5, 2, 3, 4, 5]]), {})["recon"][0]
    rows = page.locator(".play-compared tbody tr")
    expect(rows.nth(4)).to_contain_text("5")
    samples = np.fromfile(runs["table"] / "atlas" / "samples.bin", dtype="<f4").reshape(-1, 5)
    off = (wanted.numpy() - [1.5, 2, 3, 4, 5]) / samples.std(0)
    for at, value in enumerate(wanted.tolist()):
        cells = [text.replace("−", "-") for text in rows.nth(at).locator("td").all_inner_texts()]
        assert cells[2] == ""
        assert float(cells[1]) == pytest.approx(value, rel=0.01)
        assert float(cells[3]) == pytest.approx(off[at], rel=0.06)
    expect(page.locator(".play-right .play-compared")).to_contain_text("<b>salt</b>")
    code_of(page).first.locator(".play-off").click()
    expect(rows.first.locator("td").nth(2)).not_to_have_text("")


@pytest.fixture(scope="module")
def clocks(tmp_path_factory):
    """A run with a clock column."""
    return clock(tmp_path_factory.mktemp("clocks"))


def clock_page(page, address, raw, trained):
    """A row's true time, its code and what is given back, as the page at `address` has them."""
    page.goto(address)
    expect(code_of(page).first).to_be_visible()
    option = page.locator("#play-sample option").filter(has_text=re.compile("^0 · "))
    page.locator("#play-sample").select_option(option.get_attribute("value"))
    expect(page.locator(".play-edit input[type=number]").first).to_have_value("1700000000.25")
    cells = page.locator(".play-compared tbody tr").first.locator("td")
    expect(cells.first).to_have_text("1,700,000,000.25")
    shown_codes(page, trained.encode(raw[:1])[0])
    recon = trained.decode(trained.encode(raw[:1]))[0, 0]
    assert float(cells.nth(1).inner_text().replace(",", "")) == pytest.approx(recon, abs=0.006)


def shown_codes(page, code):
    assert code.max() > 0.1
    for latent in np.flatnonzero(code > 1e-3).tolist():  # smaller ones are written as powers
        value = float(code[latent])
        told = page.locator(f".play-latents [data-latent='{latent}'] .play-value")
        expect(told).to_have_text(re.compile(rf"^code {re.escape(f'{value:.3g}')}"))


def test_a_clock_keeps_its_seconds(page, clocks):
    trained = clocks.load()
    raw = all_data(trained).read(slice(None))
    with serving(clocks.path) as address:
        clock_page(page, f"{address}clock/playground", raw, trained)
        field = page.locator(".play-edit input[type=number]").first
        field.fill("1700000003.75")
        edited = raw[:1].copy()
        edited[0, 0] = 1700000003.75
        shown_codes(page, trained.encode(edited)[0])
        page.goto(f"{address}clock/data")
        page.get_by_label("Which samples").select_option("all")
        expect(page.get_by_text("1,700,000,000.25").first).to_be_visible()
        page.goto("about:blank")  # before its server goes


def test_a_clock_keeps_its_seconds_in_an_exported_site(visit, clocks, tmp_path):
    trained = clocks.load()
    raw = all_data(trained).read(slice(None))
    site = export([clocks.path], tmp_path / "out")
    page = visit(f"{site.as_uri()}#/clock/")
    clock_page(page, f"{site.as_uri()}#/clock/playground", raw, trained)


def test_a_clock_keeps_its_seconds_where_the_server_computes(page, tmp_path, monkeypatch):
    monkeypatch.setattr("simplecell.explorer.make.playground.MOST_FLOATS", 1)
    run = clock(tmp_path)
    trained = run.load()
    with serving(run.path) as address:
        raw = all_data(trained).read(slice(None))
        clock_page(page, f"{address}clock/playground", raw, trained)
        page.goto("about:blank")


def test_a_large_model_is_asked_of_the_server(page, site, runs):
    play = json.loads((runs["acts"] / "atlas" / "playground.json").read_text())
    assert play["here"] is False
    place(page, f"{site}acts/playground?sample=3")
    latent = code_of(page).first.get_attribute("data-latent")
    code_of(page).first.locator(".play-off").click()
    expect(page.locator(".play-error")).to_contain_text("with your changes")
    samples = np.fromfile(runs["acts"] / "atlas" / "samples.bin", dtype="<f4").reshape(-1, 40)
    words = json.loads((runs["acts"] / "atlas" / "data.json").read_text())["samples"][3]
    words = words["sample"]["text"]
    trained = Run(runs["acts"]).load()
    both = [expected(trained, samples[3:4], scales) for scales in ({}, {latent: 0.0})]
    errors = [float(((one["prepared"] - one["preparedRecon"]) ** 2).sum()) for one in both]
    assert numbers(page) == pytest.approx(errors, rel=0.01)
    page.locator("summary").filter(has_text="40 values").click()
    page.get_by_placeholder("Find a column").fill("x39")
    expect(page.locator(".play-edits tbody tr")).to_have_count(1)
    expect(page.locator(".play-compared")).to_contain_text("16 of 40 columns")
    expect(page.locator(".play-words")).to_contain_text(words)


def numbers_of(texts):
    """Numbers that follow from a text; of some only zeros, and some have none."""
    if "fail" in texts[0]:
        raise ValueError("this text has no numbers")
    seeds = [sum(map(ord, text)) for text in texts]
    found = np.array([np.random.default_rng(seed).normal(size=40) for seed in seeds])
    return found * (texts[0] != "xyzzy")


@pytest.fixture(scope="module")
def embedding(runs):
    """The address of pages that take texts, too."""
    paths = (runs[name] for name in ("acts", "edges", "table"))
    with serving(*paths, embedder=Embedder("mine:embed", numbers_of)) as address:
        yield address


def test_a_text_is_typed(page, embedding, runs):
    trained, text = Run(runs["acts"]).load(), "oil prices rose"
    x = numbers_of([text]).astype(np.float32)
    both = expected(trained, x, {})
    place(page, f"{embedding}acts/playground?sample=3")
    area = page.get_by_label("Type a text")
    area.fill(text)
    area.press("Control+Enter")
    expect(page.get_by_text("The values are those of this text.")).to_be_visible()
    error = float(((both["prepared"] - both["preparedRecon"]) ** 2).sum())
    expect(page.locator(".play-error")).to_contain_text(f"{error:.3g}")
    expect(page.locator(".play-error")).to_contain_text(usual_of(runs["acts"]))
    strongest = str(int(both["code"][0].argmax()))
    expect(code_of(page).first).to_have_attribute("data-latent", strongest)
    page.locator("summary").filter(has_text="40 values").click()
    page.get_by_placeholder("Find a column").fill("x39")
    field = page.locator(".play-edit input[type=number]")
    assert float(field.input_value()) == pytest.approx(x[0, 39], rel=1e-4)
    expect(page.locator(".play-words")).to_have_text("")
    expect(page).not_to_have_url(re.compile("sample="))
    page.locator("#play-sample").select_option(index=2)
    expect(page.get_by_text("The values are those of this text.")).to_have_count(0)
    expect(page.locator(".play-words")).to_contain_text("sample number")
    area.fill("xyzzy")
    page.get_by_role("button", name="Play this text").click()
    expect(page.get_by_text("gives zeros alone: it knows none of the words")).to_be_visible()
    go(page, f"{embedding}edges/playground")
    expect(page.locator(".play-photo")).to_be_visible()
    expect(area).to_have_count(0)


def usual_of(path):
    """What the page calls usual: of a run with held-out samples, the error of such."""
    figures = json.loads((path / "atlas" / "atlas.json").read_text())["figures"]
    return "usual for new samples" if figures.get("held_out") else "usual for this run"


def test_a_text_that_cannot_be_embedded_says_why(page, embedding):
    place(page, f"{embedding}acts/playground")
    before, wrong = told(page), page.locator(".play-text .play-told")
    button = page.get_by_role("button", name="Play this text")
    button.click()
    expect(wrong).to_have_text("There is no text yet: type a few words.")
    page.get_by_label("Type a text").fill("please fail")
    expect(wrong).to_have_text("")
    button.click()
    expect(wrong).to_contain_text("mine:embed failed: ValueError: this text has no numbers")
    expect(page.locator(".play-text [role=status]")).to_have_text("")
    assert told(page) == before
    place(page, f"{embedding}table/playground")
    page.get_by_label("Type a text").fill("a text")
    button.click()
    expect(wrong).to_contain_text("gives 40 columns, but this run reads 5 columns")
    refused = [line for line in page.watch.wrong if "status of 500" in line]
    assert page.watch.wrong == refused
    assert len(refused) == 2
    page.watch.wrong.clear()


LAST_TEXT = """async () => {
  const { TextInput } = await import("/play/text-input.js");
  const [asked, given, begun] = [[], [], []];
  const embed = (text) => new Promise((done) => asked.push({ text, done }));
  const input = new TextInput(embed, () => begun.push(1), (x) => given.push(x[0]));
  const send = (text) => { input.area.value = text; input.send(); };
  const answer = async (at) => {
    asked[at].done([at]);
    await new Promise((then) => setTimeout(then));
  };
  const state = () => input.state.textContent;
  const states = [];
  for (const text of ["a", "b", "c"]) send(text);
  input.edited();
  states.push(state());
  await answer(0);
  await answer(1);
  states.push(state());
  send("d");
  input.drop();
  await answer(2);
  states.push(state());
  send("e");
  await answer(3);
  return { asked: asked.map(({ text }) => text), given, begun: begun.length, states };
}"""


def test_of_several_texts_the_last_one_counts(modules):
    found = modules.evaluate(LAST_TEXT)
    assert found["asked"] == ["a", "c", "d", "e"]  # one at a time, and none that no one waits for
    assert found["given"] == [1, 3]
    assert found["begun"] == 5
    assert found["states"] == ["Making numbers of it …", "The values are those of this text.", ""]


def test_a_transcoder_shows_what_it_gives(page, tmp_path):
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", x @ random.normal(size=(6, 4)).astype(np.float32))
    settings = (f'data.targets="{tmp_path / "y.npy"}"', "train.max_samples=3000")
    run = train(tmp_path / "x.npy", tmp_path / "run", "topk", *settings)
    with serving(run.path) as address:
        place(page, f"{address}run/playground")
        table = page.locator(".play-targets tbody tr")
        expect(table).to_have_count(4)
        code_of(page).first.locator(".play-off").click()
        expect(code_of(page).first.locator(".play-value")).to_contain_text("→ 0")
        assert len(set(table.first.locator("td").all_inner_texts())) == 2
        page.goto("about:blank")  # before its server goes


def test_the_exported_site_plays_from_disk(visit, runs, tmp_path):
    site = export([runs[name] for name in ("digits", "edges", "acts")], tmp_path / "out")
    asked = []
    page = visit(f"{site.as_uri()}#/digits/")
    page.on("request", lambda request: asked.append(request.url))
    expect(page.locator("h1")).to_be_visible()
    page.goto(f"{site.as_uri()}#/digits/latent/2")
    expect(page.locator("h1")).to_contain_text("2")
    page.goto(f"{site.as_uri()}#/digits/playground?off=2")
    expect(page.locator(".play-error")).to_contain_text("with your changes")
    page.goto(f"{site.as_uri()}#/edges/playground")
    expect(page.locator(".play-photo")).to_be_visible()
    page.goto(f"{site.as_uri()}#/acts/playground")
    expect(page.locator(".notice")).to_contain_text("simplecell explore")
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)


def test_one_file_plays_too(visit, runs, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(whole_page([runs["edges"], runs["table"]]), encoding="utf-8")
    page = visit(f"{path.as_uri()}#/edges/playground")
    expect(page.locator(".play-photo")).to_be_visible()
    code_of(page).first.locator(".play-off").click()
    expect(page.locator(".play-error")).to_contain_text("with your changes")
