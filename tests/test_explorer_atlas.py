"""The atlas of a run: every number against its slow, obvious version, on real trained runs."""

from __future__ import annotations

import base64
import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from play_runs import clock, spectra
from simplecell.cli import run_command_line
from simplecell.errors import DataError, RunError, UsageError, WriteError
from simplecell.explorer.make import extremes as extremes_of
from simplecell.explorer.make.atlas import build_atlas
from simplecell.explorer.make.columns import is_spectrum
from simplecell.explorer.make.digits import need_double, orders, written
from simplecell.explorer.make.extremes import Extremes
from simplecell.explorer.make.histograms import BINS, Histograms
from simplecell.explorer.make.ranking import largest
from simplecell.explorer.make.samples import by_value, find_labels, words_of
from simplecell.explorer.make.survey import Survey
from simplecell.explorer.report import report
from simplecell.model.activations import activation
from simplecell.model.passes import Passes
from simplecell.run.begin import begin
from simplecell.run.build import all_data
from simplecell.run.directory import Run
from simplecell.run.recipe import Recipe


def train(data, out, recipe, *settings):
    session = begin(data, out, Recipe.load(recipe), settings=list(settings))
    for _ in session.records():
        pass
    session.finish()
    return Run(out)


def rows_with_words(folder, n=400):
    """Numbers whose first column is large for one topic, and records that say so."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 16)).astype(np.float32)
    topics = rng.integers(0, 3, n)
    x[:, 0] += 3 * (topics == 1)
    np.save(folder / "x.npy", x)
    with open(folder / "meta.jsonl", "w") as file:
        for i in range(n):
            record = {
                "title": f"<script>alert({i})</script>",
                "text": "words " * 200,
                "topic": f"t{topics[i]}",
            }
            file.write(json.dumps(record) + "\n")
    return folder / "x.npy", folder / "meta.jsonl"


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    data, meta = rows_with_words(folder)
    settings = ["train.max_samples=20000", "model.n_latents=24", "model.target_l0=4"]
    run = train(data, folder / "run", "topk", f'data.meta="{meta}"', *settings)
    for _ in build_atlas(run, run.load(), all_data(run.load())):
        pass
    return run


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patches")
    rng = np.random.default_rng(1)
    for k in range(2):
        picture = np.kron(rng.integers(0, 255, (12, 16)), np.ones((6, 6))).astype(np.uint8)
        (folder / "pictures").mkdir(exist_ok=True)
        Image.fromarray(picture).save(folder / "pictures" / f"{k}.png")
    settings = ["train.steps=15", "model.n_latents=9", "data.n_patches=300", "data.patch=8"]
    run = train(folder / "pictures", folder / "run", "edges", *settings)
    for _ in build_atlas(run, run.load(), all_data(run.load())):
        pass
    return run


def opened(run):
    folder = run.path / "atlas"
    atlas = json.loads((folder / "atlas.json").read_text())
    numbers = np.fromfile(folder / "columns.bin", dtype="<f4")
    m = atlas["n_latents"]
    columns = {name: numbers[k * m : (k + 1) * m] for k, name in enumerate(atlas["columns"])}
    columns["histogram"] = numbers[len(atlas["columns"]) * m :].reshape(m, BINS)
    details = [json.loads(line) for line in (folder / "details.jsonl").read_text().splitlines()]
    return atlas, columns, details


def codes_of(run):
    trained = run.load()
    return trained.encode(all_data(trained).read(slice(None)))


def test_columns_are_what_the_codes_say(texts):
    atlas, columns, _ = opened(texts)
    codes = codes_of(texts)
    assert atlas["look"] == "text"
    assert atlas["n_samples"] == 400  # held-out samples are shown too
    np.testing.assert_allclose(columns["density"], (codes > 0).mean(0), atol=1e-6)
    np.testing.assert_allclose(columns["mean"], codes.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(columns["max"], codes.max(0), rtol=1e-5)
    np.testing.assert_allclose(columns["histogram"].sum(1), (codes > 0).sum(0))
    assert (columns["high"] >= columns["max"] * (1 - 1e-6)).all()


def test_the_strongest_samples_are_the_strongest(texts):
    codes = codes_of(texts)
    for details in opened(texts)[2]:
        mine = codes[:, details["latent"]]
        active = np.sort(mine[mine > 0])[::-1]
        found = [one["value"] for one in details["top"]]
        np.testing.assert_allclose(found, active[:12], rtol=1e-4)
        for one in details["top"]:
            assert mine[one["sample"]["row"]] == pytest.approx(one["value"], rel=1e-4)
        quantiles = [one["quantile"] for one in details["spread"]]
        values = [one["value"] for one in details["spread"]]
        assert quantiles == sorted(quantiles)
        assert values == sorted(values)


def test_samples_from_strong_to_weak_are_spread_over_strength_not_rank():
    """Seven of eight were next to 0, as most codes of a sparse latent are."""
    values = np.sort(np.concatenate([np.linspace(0.001, 0.01, 56), np.linspace(1, 10, 8)]))
    chosen = values[by_value(values, 8)]
    assert chosen[[0, -1]].tolist() == [0.001, 10]
    assert (chosen > 0.5).sum() == 7  # of 8 strong ones, seven; ranks would give one
    assert by_value(values[:3], 8).tolist() == [0, 1, 2]
    assert len(by_value(np.zeros(20), 8)) == 8


def test_correlations_with_labels_and_latents_are_pearsons(texts):
    atlas, _, details = opened(texts)
    codes = codes_of(texts)
    topics = [
        json.loads(line)["topic"]
        for line in (texts.path.parent / "meta.jsonl").read_text().splitlines()
    ]
    assert atlas["labels"]["name"] == "topic"
    for line in details:
        mine = codes[:, line["latent"]]
        if mine.std() == 0:
            continue
        for one in line["labels"]:
            member = np.array([topic == one["label"] for topic in topics])
            expected = np.corrcoef(mine, member)[0, 1]
            assert one["correlation"] == pytest.approx(expected, abs=2e-4)
            assert one["mean"] == pytest.approx(mine[member].mean(), rel=1e-3, abs=1e-6)
            assert one["count"] == member.sum()
        for one in line["together"]:
            expected = np.corrcoef(mine, codes[:, one["latent"]])[0, 1]
            assert one["correlation"] == pytest.approx(expected, abs=2e-4)
    assert any("t1" in tag for tag in atlas["tags"])


def test_nothing_depends_on_how_many_samples_are_read_at_once(texts, monkeypatch):
    trained = texts.load()
    source = all_data(trained)

    def made():
        found = Survey(trained, source, find_labels(source))
        list(found.run())
        return found

    whole = made()
    monkeypatch.setattr(Passes, "n_rows", 7)
    parts = made()
    for latent in range(24):
        np.testing.assert_allclose(whole.top.of(latent)[0], parts.top.of(latent)[0], rtol=1e-5)
        for mine, theirs in ((whole.top, parts.top), (whole.drawn, parts.drawn)):
            np.testing.assert_array_equal(mine.of(latent)[1], theirs.of(latent)[1])
    assert torch.equal(whole.histograms.counts, parts.histograms.counts)
    np.testing.assert_allclose(whole.errors, parts.errors, rtol=1e-5)
    for mine, theirs in zip(whole.together(), parts.together(), strict=True):
        np.testing.assert_allclose([r for _, r in mine], [r for _, r in theirs], atol=1e-6)


def test_patches_know_their_photograph(patches):
    atlas, columns, details = opened(patches)
    assert atlas["look"] == "picture"
    assert {photo["name"] for photo in atlas["photos"]} == {"0.png", "1.png"}
    assert atlas["photos"][0]["width"] == 96
    for photo in atlas["photos"]:
        with Image.open(patches.path / "atlas" / photo["file"]) as image:
            assert image.size == (96, 72)
    sample = details[0]["top"][0]["sample"]
    assert len(base64.b64decode(sample["pixels"])) == 64
    assert sample["photo"]["side"] == 8
    assert sample["photo"]["top"] == sample["about"]["top"]
    assert ((columns["edge"] >= 0) & (columns["edge"] <= 1)).all()
    with Image.open(patches.path / "atlas" / atlas["sprites"]["sheets"][0]) as sheet:
        assert sheet.size == (24, 24)


def test_the_worst_samples_come_first_with_their_values(texts):
    data = json.loads((texts.path / "atlas" / "data.json").read_text())
    errors = [one["error"] for one in data["samples"]]
    assert errors == sorted(errors, reverse=True)
    assert data["samples"][0]["group"] == "worst"
    kept = np.fromfile(texts.path / "atlas" / "samples.bin", dtype="<f4").reshape(-1, 16)
    raw = np.load(texts.path.parent / "x.npy")
    for one in data["samples"][:5]:
        np.testing.assert_array_equal(kept[one["at"]], raw[one["sample"]["row"]])
    trained = texts.load()
    x, recon = trained.reconstruct(raw)
    expected = np.square(recon - x).sum(1).max()
    assert errors[0] == pytest.approx(expected, rel=1e-3)
    assert sum(data["errors"]["counts"]) == 400


@pytest.mark.parametrize("steps", ["standardize", "pca_whiten", "remove_dc"])
def test_the_columns_that_err_most_stand_beside_a_sample(tmp_path, steps):
    x = np.random.default_rng(0).random((120, 11)).astype(np.float32) * np.logspace(0, 4, 11)
    head = ",".join(f"name {j}" for j in range(11))
    np.savetxt(tmp_path / "x.csv", x, delimiter=",", header=head, comments="", fmt="%.7g")
    settings = ["train.steps=4", "model.n_latents=5", f'preprocess.steps=["{steps}"]']
    run = train(tmp_path / "x.csv", tmp_path / "run", "compress", *settings)
    trained = run.load()
    source = all_data(trained)
    list(build_atlas(run, trained, source))
    raw = torch.as_tensor(source.read(slice(None))).double()
    prepared, carried = trained.preprocess.apply(raw)
    given = trained.model_in(torch.float64)(prepared).recon
    recon = trained.preprocess.invert(given, carried).detach()
    off = (given - prepared if steps != "pca_whiten" else recon - raw).detach().abs().numpy()
    data = json.loads((run.path / "atlas" / "data.json").read_text())["samples"]
    assert len(data) == 120
    for one in data:
        row = one["sample"]["row"]
        columns = [int(name.removeprefix("name ")) for name, _, _ in one["columns"]]
        assert len(set(columns)) == 8
        kept, left = off[row, columns], np.delete(off[row], columns)
        assert (np.diff(kept) <= 1e-4 * kept.max()).all()
        assert kept.min() >= left.max() - 1e-4 * kept.max()
        told = np.array([[value, back] for _, value, back in one["columns"]])
        np.testing.assert_allclose(told[:, 0], raw[row, columns], rtol=1e-5)
        np.testing.assert_allclose(told[:, 1], recon[row, columns], rtol=1e-3, atol=1e-3)


def test_values_that_32_bits_round_keep_all_their_digits(tmp_path):
    run = clock(tmp_path)
    raw = all_data(run.load()).read(slice(None))
    atlas, _, details = opened(run)
    data = json.loads((run.path / "atlas" / "data.json").read_text())["samples"]
    assert atlas["sample_bits"] == 64
    assert atlas["digits"] == {"clock": 12}
    kept = np.fromfile(run.path / "atlas" / "samples.bin", dtype="<f8").reshape(-1, 3)
    for one in data:
        row = one["sample"]["row"]
        np.testing.assert_array_equal(kept[one["at"]], raw[row])
        assert dict(one["sample"]["values"])["clock"] == raw[row, 0]
        assert {name: value for name, value, _ in one["columns"]}["clock"] == raw[row, 0]
    for one in details:
        sample = one["top"][0]["sample"]
        assert dict(sample["values"])["clock"] == raw[sample["row"], 0]
    assert 1_700_000_000.25 in raw[:, 0]


def test_the_weights_of_a_spectrum_are_told_in_order(tmp_path, texts):
    run = spectra(tmp_path)
    _, _, details = opened(run)
    rows = run.load().model.directions().detach().double().numpy()
    for one, row in zip(details, rows, strict=True):
        np.testing.assert_allclose(one["curve"], row / abs(row).max(), atol=1e-4)
    assert opened(texts)[2][0]["curve"] is None


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ([str(400 + 2.5 * k) for k in range(8)], True),
        ([str(k) for k in range(7)], False),
        ([str(-k) for k in range(8)], False),
        ([*"1234567", "sugar"], False),
        ([*"1234567", "inf"], False),
        ([*"1234567", "7"], False),
    ],
)
def test_rising_numbers_name_a_spectrum(names, wanted):
    assert is_spectrum(names) == wanted


def test_values_that_32_bits_hold_take_32_bits(texts):
    atlas, _, _ = opened(texts)
    assert atlas["sample_bits"] == 32
    assert atlas["digits"] == {}


@pytest.mark.parametrize(
    ("column", "powers", "shown", "double"),
    [
        ([1.0, 2.0, 3.0], 1, 4, False),
        ([1e9, 1e9 + 1, 1e9 + 2], 10, 13, True),
        ([-1e9, 1 - 1e9, 2 - 1e9], 10, 13, True),
        ([300.0, 301.0, 302.0], 3, 6, False),
        ([1e300, -1e300, 0.0], 1, 4, True),
        ([0.0, 0.0, 0.0], 0, 4, False),
        ([0.1, 0.1, 0.1], 16, 15, True),
        ([0.5, 0.5, 0.5], 16, 15, False),
    ],
)
def test_digits_follow_the_spread(column, powers, shown, double):
    x = np.array(column)[:, None]
    assert orders(x).tolist() == [powers]
    assert written(x, ["x"]).get("x", 4) == shown
    assert need_double(x) == double
    exact = x.astype(np.float32) if abs(x).max() < 1e38 else x
    assert not need_double(exact) or abs(x).max() > 1e38


def test_digits_of_32_bits_are_no_more_than_these_hold():
    x = np.full((3, 1), 0.1, dtype=np.float32)
    assert written(x, ["x"]) == {"x": 6}
    assert not need_double(x)


def test_an_atlas_is_used_again_and_made_anew_when_weights_change(texts):
    manifest = texts.path / "atlas" / "atlas.json"
    before = manifest.stat().st_mtime_ns
    trained = texts.load()
    assert list(build_atlas(texts, trained, all_data(trained))) == [1.0]
    assert manifest.stat().st_mtime_ns == before
    (texts.path / "atlas" / "atlas.json").write_text("{broken")
    assert len(list(build_atlas(texts, trained, all_data(trained)))) > 1
    kept = json.loads(manifest.read_text())
    assert kept["format"] == 1
    manifest.write_text(json.dumps(kept | {"edition": 1}))  # of an earlier version
    assert len(list(build_atlas(texts, trained, all_data(trained)))) > 1
    assert json.loads(manifest.read_text()) == kept


def test_a_build_that_is_stopped_leaves_the_old_atlas_and_no_rubbish(texts):
    manifest = texts.path / "atlas" / "atlas.json"
    kept = manifest.read_text()
    manifest.write_text(kept.replace('"key"', '"other"'))
    trained = texts.load()
    building = build_atlas(texts, trained, all_data(trained))
    next(building)
    building.close()
    assert manifest.exists()
    assert not list(texts.path.glob(".*.tmp"))
    manifest.write_text(kept)


def test_tokens_are_shown_with_their_neighbours_and_codes(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.standard_normal((300, 16)).astype(np.float32))
    with open(tmp_path / "meta.jsonl", "w") as file:
        for i in range(300):
            record = {"token": f"w{i}", "document": i // 30, "position": i % 30}
            file.write(json.dumps(record) + "\n")
    settings = ["train.max_samples=5000", "model.n_latents=20", "model.target_l0=4"]
    meta = f'data.meta="{tmp_path / "meta.jsonl"}"'
    run = train(tmp_path / "x.npy", tmp_path / "run", "batchtopk", meta, *settings)
    for _ in build_atlas(run, run.load(), all_data(run.load())):
        pass
    atlas, _, details = opened(run)
    codes = codes_of(run)
    assert atlas["look"] == "tokens"
    example = details[3]["top"][0]
    sample, row = example["sample"], example["sample"]["row"]
    own = sample["tokens"][sample["at"]]
    assert own[0] == f"w{row}"
    assert own[1] == pytest.approx(example["value"], rel=2e-3)
    first = row - sample["at"]
    assert [text for text, _ in sample["tokens"]] == [
        f"w{i}" for i in range(first, first + len(sample["tokens"]))
    ]
    assert first // 30 == row // 30  # never across documents
    for i, (_, value) in enumerate(sample["tokens"]):
        assert value == pytest.approx(float(codes[first + i, 3]), rel=2e-3, abs=1e-6)


def test_a_histogram_widens_without_losing_a_count():
    histograms = Histograms(activation("relu"), 2)
    values = torch.tensor([[0.45, 0.0], [0.1, 0.0], [3.9, 1.9], [0.0, 0.0]])
    for row in values:
        latents = row.nonzero()[:, 0]
        histograms.add(row[latents], latents)
    assert histograms.counts.sum(1).tolist() == [3, 1]
    assert histograms.high.tolist() == [4.0, 2.0]
    width = 4.0 / BINS
    assert histograms.counts[0].nonzero()[:, 0].tolist() == [
        int(0.1 / width),
        int(0.45 / width),
        int(3.9 / width),
    ]
    signed = Histograms(activation("identity"), 1)
    signed.add(torch.tensor([-1.0, 0.5]), torch.tensor([0, 0]))
    signed.add(torch.tensor([3.0]), torch.tensor([0]))
    assert (signed.low.item(), signed.high.item()) == (-4.0, 4.0)
    assert signed.counts.sum() == 3
    assert signed.counts[0, : BINS // 2].sum() == 1
    few = Histograms(activation("abstopk", 1, k=1), 1)
    few.add(torch.tensor([-1.0, 3.0]), torch.tensor([0, 0]))
    assert (few.low.item(), few.high.item()) == (-4.0, 4.0)
    assert few.counts[0, : BINS // 2].sum() == 1


def test_signed_codes_have_their_strongest_samples_either_way(tmp_path):
    x = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    settings = ["train.max_samples=3000", "model.n_latents=12", "model.target_l0=2"]
    run = train(tmp_path / "x.npy", tmp_path / "run", "abstopk", *settings)
    for _ in build_atlas(run, run.load(), all_data(run.load())):
        pass
    atlas, columns, details = opened(run)
    codes = codes_of(run)
    assert (atlas["sparse"], atlas["signed"]) == (True, True)
    assert (codes < 0).any()
    np.testing.assert_allclose(columns["max"], np.abs(codes).max(0), rtol=1e-5)
    np.testing.assert_allclose(columns["low"], -columns["high"])
    for one in details:
        mine = codes[:, one["latent"]]
        for name, sign in (("top", 1), ("bottom", -1)):
            wanted = np.sort(sign * mine[sign * mine > 0])[::-1][:12]
            found = [sign * example["value"] for example in one.get(name, [])]
            np.testing.assert_allclose(found, wanted, rtol=1e-4)
    play = json.loads((run.path / "atlas" / "playground.json").read_text())
    assert play["exact"]["signed"] is True
    assert play["exact"]["alpha"] > 0


def obvious(scores, most):
    """Rows of each latent, best first, the earlier of equals, of scores [B, M]; −inf left out."""
    order = np.argsort(-scores, axis=0, kind="stable")
    return [
        [row for row in column[:most] if scores[row, j] > -np.inf]
        for j, column in enumerate(order.T)
    ]


@pytest.mark.parametrize("waiting", [1, 50, 2**20])
@pytest.mark.parametrize("size", [1, 7, 200])
def test_extremes_by_entries_are_those_of_all_samples(waiting, size, monkeypatch):
    monkeypatch.setattr(extremes_of, "_WAITING", waiting)
    random = np.random.default_rng(0)
    scores = random.integers(0, 30, (200, 9)).astype(np.float32) / 4  # many equals
    scores[random.random((200, 9)) < 0.6] = -np.inf
    scores[:, 3], scores[5:, 4] = -np.inf, -np.inf
    found = Extremes(9, 12)
    for first in range(0, 200, size):
        part = torch.from_numpy(scores[first : first + size])
        samples, latents = (part > -torch.inf).nonzero(as_tuple=True)
        own = part[samples, latents]
        found.add(own, own * 10, latents, samples + first)
    for latent, rows in enumerate(obvious(scores, 12)):
        values, mine = found.of(latent)
        assert mine.tolist() == rows
        np.testing.assert_array_equal(values, scores[rows, latent] * 10)


@pytest.mark.parametrize("size", [5, 64, 200])
def test_extremes_of_codes_that_are_never_0(size):
    codes = torch.randn(200, 9, generator=torch.Generator().manual_seed(0))
    keys = torch.rand(200, generator=torch.Generator().manual_seed(1))
    top, drawn = Extremes(9, 12), Extremes(9, 20)
    for first in range(0, 200, size):
        part = slice(first, first + size)
        rows = torch.arange(200)[part]
        top.add_all(codes[part], rows)
        drawn.add_all(codes[part], rows, keys[part])
    for latent, rows in enumerate(obvious(codes.numpy(), 12)):
        assert top.of(latent)[1].tolist() == rows
        assert drawn.of(latent)[1].tolist() == keys.argsort(descending=True)[:20].tolist()
        np.testing.assert_array_equal(drawn.of(latent)[0], codes[drawn.of(latent)[1], latent])


def test_the_largest_of_rows_are_those_of_a_stable_sort():
    random = np.random.default_rng(0)
    values = random.standard_normal((40, 90))
    values[5], values[6, 10:], values[7, ::2] = 0.0, -np.inf, 3.0
    values[8], values[9, 50:] = np.nan, np.nan
    values[10:20] = random.integers(0, 4, (10, 90))
    for most in (1, 8, 16, 40, 90):
        expected = np.argsort(-values, axis=1, kind="stable")[:, :most]
        np.testing.assert_array_equal(largest(values, most), expected)


def test_words_of_a_record():
    assert words_of(["a", "", 3]) == ["a", "3"]
    assert words_of("x") == ["x"]
    assert words_of(0.5) == []


def test_data_that_have_changed_are_named(tmp_path):
    data = tmp_path / "x.npy"
    np.save(data, np.random.default_rng(0).standard_normal((50, 5)))
    run = train(data, tmp_path / "run", "compress", "train.steps=3")
    np.save(data, np.zeros((50, 5)))
    with pytest.raises(DataError, match="have changed since"):
        all_data(run.load())
    assert all_data(run.load(), data=np.ones((4, 5))).n_samples == 4


@pytest.mark.parametrize("which", ["texts", "patches"])
def test_the_report_is_one_file_that_runs_nothing(which, request):
    text = report(request.getfixturevalue(which))
    assert "<script" not in text
    assert "http://" not in text
    assert "https://" not in text
    assert "default-src 'none'" in text
    assert "Latent 0" in text or "Latent 1" in text
    if which == "texts":
        assert "&lt;script&gt;alert(" in text
        assert "value → reconstruction" in text
        assert re.search(r"x\d+ -?[\d.]+ → -?[\d.]+, ", text)


def test_a_transcoder_has_no_columns_that_err(tmp_path):
    x = np.random.default_rng(0).random((60, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", 3 * x[:, :4])
    targets = f'data.targets="{tmp_path / "y.npy"}"'
    run = train(tmp_path / "x.npy", tmp_path / "run", "topk", targets, "train.max_samples=600")
    trained = run.load()
    list(build_atlas(run, trained, all_data(trained)))
    data = json.loads((run.path / "atlas" / "data.json").read_text())
    assert data["errors"] is None
    assert not any("columns" in one for one in data["samples"])
    assert "Reconstructed worst" not in report(run)


def estimator_of(x):
    from simplecell import SparseAutoencoder

    quick = SparseAutoencoder(n_latents=6, max_iter=3, random_state=0, output="linear")
    return quick.set_params(preprocess=["standardize"]).fit(x)


def data_of(page, name):
    """What a page holds under a path, found in its text."""
    place = page.html.index(f'"{name}":') + len(name) + 3
    return json.JSONDecoder().raw_decode(page.html[place:])[0]


def test_correlations_hold_where_codes_hardly_move():
    x = np.random.default_rng(0).random((300, 16)) * 1e-2
    quick = estimator_of(x)
    quick._trained.model.encoder.detach().mul_(1e-3)  # codes of about 0.5 that move by 1e-4
    codes = quick.transform(x)
    latent = data_of(quick.explore(x), "SparseAutoencoder/latent/2".lower())
    for one in latent["together"]:
        expected = np.corrcoef(codes[:, 2], codes[:, one["latent"]])[0, 1]
        assert one["correlation"] == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(
    "odd",
    [
        {"label": np.int64(3), "when": np.datetime64("2020-01-01"), "set": {1}, "bytes": b"x"},
        {"text": None},
        {"text": 2020, "nested": {"a": [float("nan"), {"b": 1e999}]}},
        {"__proto__": "x", "row": "mine", "file": 3, "text": "\udcff"},
        {"token": None, "position": "first"},
    ],
)
def test_any_record_can_be_shown(odd):
    x = np.random.default_rng(0).random((40, 9))
    records = [{"text": "plain", "label": "a"} for _ in range(40)]
    records[0] = odd
    page = estimator_of(x).explore(x, about=records, shape=(9,))
    assert "plain" in page.html


def test_constant_data_and_sparse_rows_are_shown():
    from scipy.sparse import csr_array

    assert estimator_of(np.ones((30, 5))).explore(np.ones((30, 5))).html
    x = np.random.default_rng(0).random((30, 64))
    quick = estimator_of(x)
    assert quick.explore(x).html
    assert quick.explore(csr_array(x)).html


@pytest.mark.parametrize(
    "wrong",
    [
        {"y": np.zeros((40, 2))},
        {"y": 3},
        {"shape": 64},
        {"shape": (-3, -3)},
        {"about": ["a"] * 40},
        {"about": [{}]},
    ],
)
def test_what_does_not_fit_is_one_sentence(wrong):
    x = np.random.default_rng(0).random((40, 9))
    with pytest.raises(UsageError):
        estimator_of(x).explore(x, **wrong)


def test_a_damaged_atlas_is_made_again(texts):
    trained = texts.load()
    for name in ("details.jsonl", "columns.bin", "samples.bin"):
        path = texts.path / "atlas" / name
        whole = path.read_bytes()
        path.write_bytes(whole[:100])
        list(build_atlas(texts, trained, all_data(trained)))
        assert path.read_bytes() == whole


def test_two_that_build_at_once_give_one_atlas(texts):
    trained = texts.load()
    manifest = texts.path / "atlas" / "atlas.json"
    manifest.unlink()
    first = build_atlas(texts, trained, all_data(trained))
    next(first)  # holds the right to build
    second = build_atlas(texts, trained, all_data(trained))
    assert next(second) == 0.0
    list(first)
    made = manifest.stat().st_mtime_ns
    assert list(second)[-1] == 1.0
    assert manifest.stat().st_mtime_ns == made


def test_building_leaves_a_trainers_temporary_files_alone(texts):
    theirs = texts.path / f".{'0' * 16}.tmp"
    theirs.write_text("half")
    trained = texts.load()
    (texts.path / "atlas" / "atlas.json").unlink()
    list(build_atlas(texts, trained, all_data(trained)))
    assert theirs.read_text() == "half"
    theirs.unlink()


def test_a_full_disk_is_told_by_the_folder_of_the_run(tmp_path, monkeypatch):
    """And not by the hidden name of what was half made."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((40, 6)).astype(np.float32))
    run = train(tmp_path / "x.npy", tmp_path / "run", "table", "train.steps=2")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    for name in ("write_bytes", "write_text"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, name, full)
            with pytest.raises(WriteError) as error:
                list(build_atlas(run, run.load(), all_data(run.load())))
        assert str(error.value).startswith(
            f"could not write '{run.path / 'atlas'}': No space left on device"
        )
    assert not list(run.path.glob(".*.tmp"))


def test_a_link_in_the_place_of_the_atlas_is_left_alone(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((40, 6)).astype(np.float32))
    run = train(tmp_path / "x.npy", tmp_path / "run", "table", "train.steps=2")
    (tmp_path / "mine").mkdir()
    (run.path / "atlas").symlink_to(tmp_path / "mine")
    with pytest.raises(RunError, match="atlas' is a symbolic link"):
        list(build_atlas(run, run.load(), all_data(run.load())))
    assert not list((tmp_path / "mine").iterdir())


def test_rows_beyond_the_finite_numbers_are_named(tmp_path):
    """By the atlas and by the verbs that meet them; the run itself knows better rows."""
    x = np.random.default_rng(0).random((40, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    run = train(tmp_path / "x.npy", tmp_path / "run", "table", "train.steps=2")
    x[17] = 3e38
    np.save(tmp_path / "odd.npy", x)
    with pytest.raises(DataError, match="sample 17 holds numbers so large"):
        list(build_atlas(run, run.load(), all_data(run.load(), tmp_path / "odd.npy")))
    odd, out = str(tmp_path / "odd.npy"), str(tmp_path / "codes.npy")
    assert run_command_line(["evaluate", str(run.path), odd]) == 3
    assert run_command_line(["encode", str(run.path), odd, "--out", out]) == 3
    assert not (tmp_path / "codes.npy").exists()


def test_report_asks_for_its_place_before_it_works(tmp_path, monkeypatch, capsys):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((40, 6)).astype(np.float32))
    run = train(tmp_path / "x.npy", tmp_path / "run", "table", "train.steps=2")

    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")

    for where in ([], ["--out", str(tmp_path)], ["--out", str(tmp_path / "none" / "r.html")]):
        with monkeypatch.context() as patch:
            if not where:  # whoever runs tests as root may write everywhere
                patch.setattr(tempfile, "TemporaryFile", forbidden)
            assert run_command_line(["report", str(run.path), *where]) == 6
        assert "could not write" in capsys.readouterr().err
        assert not (run.path / "atlas").exists()
