"""Targets of the explorer: the same figures as `explain`, SciPy and scikit-learn give."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from houses import houses, write_houses
from simplecell.cli import run_command_line
from simplecell.data import ArraySource
from simplecell.data.rows import Meta
from simplecell.explain.asked import of_target
from simplecell.explain.splits import hold_out
from simplecell.explain.target import target_of
from simplecell.explorer.export import export
from simplecell.explorer.make import targets
from simplecell.explorer.make.atlas import build_atlas, folder_of
from simplecell.explorer.make.samples import evenly
from simplecell.explorer.make.targets import OF_CLASSES, OF_NUMBERS, offered
from simplecell.run.build import all_data
from simplecell.run.directory import Run

M = 12


def trained(folder, *more, recipe="topk"):
    """A run on houses, whose price and kind are records, made as a user makes it."""
    table = write_houses(folder / "houses.csv")
    told = ["--records", "price", "--records", "kind"]
    keys = [f"model.n_latents={M}", "train.steps=300", *more]
    told += [part for key in keys for part in ("--set", key)]
    words = ["train", str(table), "--out", str(folder / "run"), "--recipe", recipe, *told]
    assert run_command_line(words) == 0
    return Run(folder / "run")


def made(run):
    """What its atlas says of targets, and the numbers of its file."""
    loaded = run.load()
    for _ in build_atlas(run, loaded, all_data(loaded)):
        pass
    folder = folder_of(run)
    told = json.loads((folder / "atlas.json").read_text())["targets"]
    there = (folder / "targets.bin").exists()
    return told, np.fromfile(folder / "targets.bin", dtype="<f4") if there else None


def figures_of(entry, numbers):
    """Each figure [T, M] by its name."""
    n_classes = max(1, len(entry["classes"]))
    size = len(entry["figures"]) * n_classes * M
    shaped = numbers[entry["at"] : entry["at"] + size].reshape(-1, n_classes, M)
    return dict(zip(entry["figures"], shaped, strict=True))


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("houses")
    run = trained(folder, "model.target_l0=3", "preprocess.steps=['standardize']")
    return run, *made(run)


def test_every_figure_is_that_of_explain(explored):
    run, told, numbers = explored
    assert [one["name"] for one in told["tested"]] == ["kind", "price"]
    assert told["n_samples"] == 420
    for entry, names in zip(told["tested"], (OF_CLASSES, OF_NUMBERS), strict=True):
        assert entry["figures"] == list(names)
        loaded = run.load()
        answer = of_target(loaded, all_data(loaded), entry["name"])
        assert (entry["n_seen"], entry["n_held_out"]) == (answer.n_seen, answer.n_held_out)
        found = figures_of(entry, numbers)
        classes = answer.columns.get("class")
        of = {name: k for k, name in enumerate(entry["classes"] or [""])}
        for i, latent in enumerate(answer.columns["latent"]):
            t = 0 if classes is None else of[classes[i]]
            for name in names:
                np.testing.assert_allclose(
                    found[name][t, latent], float(answer.columns[name][i]), rtol=1e-4, atol=1e-7
                )
        best = answer.predicted.best
        assert entry["verdict"] == {
            "yes": True,
            "p": answer.predicted.p,
            "score": pytest.approx(best.held_out, rel=1e-6),
            "probe": best.name,
            "n_probes": len(answer.predicted.probes),
        }


def test_effects_and_q_are_those_of_other_libraries(explored):
    run, told, numbers = explored
    loaded = run.load()
    codes = loaded.encode(houses_as_read(loaded))
    _, price, kind = houses()
    for entry, values in zip(told["tested"], (kind.tolist(), price.tolist()), strict=True):
        target, _, _ = target_of(entry["name"], values)
        seen, held = hold_out(target, None, 0)
        found = figures_of(entry, numbers)
        p = np.full((M, max(1, len(entry["classes"]))), np.nan)
        for latent in range(M):
            for t in range(p.shape[1]):
                mine = codes[:, latent]
                if (mine[seen] > 0).sum() < 5:
                    assert np.isnan(found["q"][t, latent])
                    continue
                if target.is_number:
                    effect, p[latent, t] = stats.spearmanr(mine[seen], price[seen])
                    assert found["rank_correlation"][t, latent] == pytest.approx(effect, abs=1e-5)
                    other = np.nan  # active too rarely there
                    if (mine[held] > 0).sum() >= 5:
                        other = stats.spearmanr(mine[held], price[held])[0]
                    assert found["held_out_rank_correlation"][t, latent] == pytest.approx(
                        other, abs=1e-5, nan_ok=True
                    )
                else:
                    inside = kind == entry["classes"][t]
                    p[latent, t] = stats.mannwhitneyu(
                        mine[seen][inside[seen]], mine[seen][~inside[seen]], method="asymptotic"
                    ).pvalue
                    for name, part in (("auc", seen), ("held_out_auc", held)):
                        if (mine[part] > 0).sum() < 5:
                            continue
                        assert found[name][t, latent] == pytest.approx(
                            roc_auc_score(inside[part], mine[part]), abs=1e-5
                        )
        tested = np.isfinite(p)
        np.testing.assert_allclose(
            found["q"].T[tested], stats.false_discovery_control(p[tested]), rtol=1e-3, atol=1e-30
        )
        assert (found["q"] <= 0.05).any()
        assert (found["holds"][found["q"] <= 0.05] == 1).any()


def houses_as_read(loaded):
    source = all_data(loaded)
    return source.read(np.arange(source.n_samples)).astype(np.float64)


def test_what_is_no_target_is_told_with_its_reason():
    n = 120
    records = [
        {
            "id": i,
            "patient_id": f"P{i % 5}",
            "number": i,
            "label": i % 3,
            "price": 1.5 * ((i * 37) % 101),
            "fixed": "same",
            "topics": ["a", "b"] if i % 2 else ["b", f"t{i}"] if i % 3 else [],
            "note": f"word{i}",
            "long": "text " * 40,
            "rare": "yes" if i < 4 else "no",
        }
        for i in range(n)
    ]
    source = ArraySource(
        np.zeros((n, 4), dtype=np.float32), meta=Meta(n, lambda i: dict(records[i]))
    )
    found, left = offered(source, np.arange(n))
    assert [(one.target.name, one.target.is_number) for one in found] == [
        ("label", False),
        ("topics", False),
        ("price", True),
    ]
    assert found[1].target.tested == ("a", "b")
    np.testing.assert_array_equal(found[1].target.columns.sum(0), [60, 100])
    told = {one["name"]: one["why"] for one in left}
    assert set(told) == {"fixed", "note", "rare"}
    assert "fewer than two values" in told["rare"]


def test_a_number_that_counts_the_rows_of_a_table_is_none(tmp_path):
    run = trained(tmp_path, "model.target_l0=3")
    source = all_data(run.load())
    n = source.n_samples
    source = ArraySource(
        np.zeros((n, 2), dtype=np.float32),
        meta=Meta(n, lambda i: {"place of entry": i, "price": float(i % 50)}),
    )
    found, left = offered(source, np.arange(n))
    assert [one.target.name for one in found] == ["price"]
    assert left == [{"name": "place of entry", "why": "it counts the samples"}]


def test_bounds_are_kept_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr(targets, "MOST_TARGETS", 1)
    monkeypatch.setattr(targets, "MOST_SAMPLES", 200)
    monkeypatch.setattr(targets, "QUICK", 0)
    run = trained(tmp_path, "model.target_l0=3", "preprocess.steps=['standardize']")
    told, numbers = made(run)
    (entry,) = told["tested"]
    assert {"name": "price", "why": "at most 1 targets are looked at"} in told["left_out"]
    assert told["n_samples"] == 200 == entry["n_seen"] + entry["n_held_out"]
    assert entry["verdict"] is None
    loaded, rows = run.load(), evenly(420, 200)
    codes = loaded.encode(houses_as_read(loaded))[rows]
    flat = houses()[2][rows] == "flat"
    target, _, _ = target_of("kind", houses()[2][rows].tolist())
    seen, _ = hold_out(target, None, 0)
    found = figures_of(entry, numbers)["auc"][0]
    assert np.isfinite(found).sum() > 6
    for latent in np.flatnonzero(np.isfinite(found)):
        auc = roc_auc_score(flat[seen], codes[seen, latent])
        assert found[latent] == pytest.approx(auc, abs=1e-5)
    monkeypatch.setattr(targets, "MOST_TARGETS", 12)
    monkeypatch.setattr(targets, "MOST_NUMBERS", len(OF_NUMBERS) * M)
    found = targets.Targets(loaded.model, all_data(loaded))
    assert [one.target.name for one in found.offered] == ["price"]
    assert {"name": "kind", "why": "3 classes of 12 latents are too many to keep"} in found.left


def test_codes_that_are_never_0_have_no_figures_of_active_samples(tmp_path):
    run = trained(tmp_path, recipe="table")
    told, numbers = made(run)
    names = {name for one in told["tested"] for name in one["figures"]}
    assert {"auc", "correlation"} <= names
    assert not [name for name in names if "difference" in name or "lift" in name or "odds" in name]
    assert np.isfinite(figures_of(told["tested"][1], numbers)["rank_correlation"]).all()


@pytest.fixture(scope="module")
def districts(tmp_path_factory):
    """A run on houses of 30 districts, whose prices are alike within each."""
    folder = tmp_path_factory.mktemp("districts")
    x, price, _ = houses()
    random = np.random.default_rng(2)
    district = random.integers(30, size=len(x))
    price = price + random.normal(scale=3e5, size=30)[district]
    with open(folder / "houses.csv", "w") as file:
        print(*(f"m{i}" for i in range(8)), "price", "district", "town", sep=",", file=file)
        for row, one, where in zip(x, price, district, strict=True):
            towns = "north" if where < 4 else "south"
            print(*map("{:.4f}".format, row), f"{one:.0f}", f"d{where}", towns, sep=",", file=file)
    told = ["--records", "price", "--records", "district", "--records", "town"]
    told += ["--set", f"model.n_latents={M}", "--set", "train.steps=200"]
    words = ["train", str(folder / "houses.csv"), "--out", str(folder / "run"), "--recipe", "topk"]
    assert run_command_line([*words, *told, "--set", "model.target_l0=3"]) == 0
    return Run(folder / "run")


def explored_by(run, folder, *more):
    """What `explore` says of targets, and their numbers, of an atlas that it has made."""
    code = run_command_line(["explore", str(run.path), "--export", str(folder / "site"), *more])
    if code:
        return code
    told = json.loads((folder_of(run) / "atlas.json").read_text())
    return told, np.fromfile(folder_of(run) / "targets.bin", dtype="<f4")


def test_groups_are_kept_on_one_side_as_explain_keeps_them(districts, tmp_path):
    alone, numbers = explored_by(districts, tmp_path)
    assert alone["group"] is None
    loaded = districts.load()
    source = all_data(loaded)
    told, grouped = explored_by(districts, tmp_path, "--group", "district")
    assert told["group"] == "district"
    names = [one["name"] for one in told["targets"]["tested"]]
    assert set(names) == {"price", "town"}  # a group is no target
    assert not np.array_equal(grouped, numbers)
    for entry in told["targets"]["tested"]:
        answer = of_target(loaded, source, entry["name"], group="district")
        assert (entry["n_seen"], entry["n_held_out"]) == (answer.n_seen, answer.n_held_out)
        assert entry["verdict"]["score"] == pytest.approx(answer.predicted.best.held_out, rel=1e-6)
        found = figures_of(entry, grouped)
        for i, latent in enumerate(answer.columns["latent"]):
            for name in entry["figures"]:
                expected = float(answer.columns[name][i])
                np.testing.assert_allclose(
                    found[name][0, latent], expected, rtol=1e-4, atol=1e-7, err_msg=name
                )
    # It stays where none is asked for, and another takes its place.
    assert explored_by(districts, tmp_path)[0]["group"] == "district"
    build = (folder_of(districts) / "atlas.json").stat().st_mtime_ns
    explored_by(districts, tmp_path, "--group", "district")
    assert (folder_of(districts) / "atlas.json").stat().st_mtime_ns == build


def test_groups_that_cannot_be_held_apart_are_refused_before_the_pass(districts, tmp_path, capsys):
    assert explored_by(districts, tmp_path, "--group", "donor") == 2
    assert "'donor' (they tell 'price', 'district', 'town')" in capsys.readouterr().err
    assert explored_by(districts, tmp_path, "--group", "town") == 3
    assert "'town' makes 2 groups" in capsys.readouterr().err


def test_without_records_there_is_nothing(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(200, 6)).astype("f4"))
    words = ["train", str(tmp_path / "x.npy"), "--out", str(tmp_path / "run")]
    assert run_command_line([*words, "--set", "train.steps=5"]) == 0
    told, numbers = made(Run(tmp_path / "run"))
    assert told is None
    assert numbers is None


def test_noise_is_not_predicted(tmp_path):
    x, _, _ = houses()
    noise = np.random.default_rng(5).normal(size=len(x))
    np.save(tmp_path / "x.npy", x.astype(np.float32))
    meta = tmp_path / "meta.jsonl"
    meta.write_text("\n".join(json.dumps({"lottery": value}) for value in noise))
    words = ["train", str(tmp_path / "x.npy"), "--out", str(tmp_path / "run"), "--recipe", "topk"]
    words += ["--meta", str(meta), "--set", f"model.n_latents={M}", "--set", "train.steps=200"]
    assert run_command_line([*words, "--set", "model.target_l0=3"]) == 0
    told, numbers = made(Run(tmp_path / "run"))
    (entry,) = told["tested"]
    assert entry["verdict"]["yes"] is False
    assert not (figures_of(entry, numbers)["q"] <= 0.05).any()


def test_an_exported_site_has_the_figures(explored, tmp_path):
    run, _, numbers = explored
    index = export([run.path], tmp_path / "site")
    file = index.parent / "data" / "run" / "targets.bin.js"
    assert file.stat().st_size > numbers.nbytes  # base64 of all of them
