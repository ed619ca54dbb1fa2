"""viz.whitening and `show --what preparation`: what is drawn, read back from the figure."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from simplecell import Preprocess, Whitening, viz
from simplecell.cli import run_command_line
from simplecell.data import ArraySource
from simplecell.errors import DataError, UsageError
from simplecell.preprocess.whitening import WhiteningReport
from simplecell.run.directory import Run
from simplecell.viz import portrait

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(200, 16)) @ RNG.normal(size=(16, 16))


def texts(figure):
    return [t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text")) if t.get_text()]


def lines(panel):
    return {line.get_label(): line.get_ydata() for line in panel.lines}


def test_the_page_of_pictures_shows_spectra_covariances_and_samples():
    whitened = Whitening(epsilon=0.5).fit(ROWS).transform(ROWS)
    figure = viz.whitening(ROWS, whitened, shape=(4, 4), epsilon=0.5)
    spectrum, before, samples, kept, after, same = figure.axes[:6]
    variance = np.sort(np.linalg.eigvalsh(np.cov(ROWS.T, bias=True)))[::-1]
    drawn = lines(spectrum)
    np.testing.assert_allclose(drawn["before"], variance)
    np.testing.assert_allclose(drawn["after"], variance / (variance + 0.5), atol=1e-9)
    np.testing.assert_allclose(drawn["λ/(λ + ε), promised"], variance / (variance + 0.5))
    shares = np.cumsum(variance) / variance.sum()
    np.testing.assert_allclose(kept.lines[0].get_ydata(), shares)
    words = texts(figure)
    for mark in (0.9, 0.99):
        assert f"{np.searchsorted(shares, mark) + 1} of 16 keep {mark:.0%}" in words
    np.testing.assert_allclose(before.images[0].get_array(), np.cov(ROWS.T, bias=True))
    np.testing.assert_allclose(after.images[0].get_array(), np.cov(whitened.T, bias=True))
    assert len(samples.images) == len(same.images) == 1
    assert {"Samples before", "The same after"} <= set(words)


def test_a_table_has_its_names_and_no_samples():
    names = [f"a ${i}$" for i in range(16)]
    centred = ROWS - ROWS.mean(0)
    figure = viz.whitening(ROWS, centred, names=names)
    words = texts(figure)
    for panel in figure.axes[1], figure.axes[3]:
        assert [label.get_text() for label in panel.get_yticklabels()] == names
    assert "Samples before" not in words
    assert "λ/(λ + ε), promised" not in words
    assert {"Covariance before", "Covariance after"} <= set(words)


def test_directions_without_variance_leave_a_gap_and_are_said():
    flat = np.column_stack([ROWS, ROWS[:, :2]])
    figure = viz.whitening(flat, flat - flat.mean(1, keepdims=True))
    assert np.isnan(lines(figure.axes[0])["before"]).sum() == 2
    assert sum("no variance in some direction" in text for text in texts(figure)) == 2


def test_fewer_components_are_drawn_as_directions_or_said_to_be_no_picture():
    pca = Whitening("pca", retained=0.8).fit(ROWS)
    codes = pca.transform(ROWS)
    bare = texts(viz.whitening(ROWS, codes, shape=(4, 4), names=None))
    assert f"{codes.shape[1]} components a sample:\nno picture any more" in bare
    drawn = viz.whitening(ROWS, codes, shape=(4, 4), components=pca.components_, epsilon=0.1)
    assert f"The first of {codes.shape[1]} components" in texts(drawn)
    assert len(lines(drawn.axes[0])["λ/(λ + ε), promised"]) == codes.shape[1]


def test_a_report_of_all_data_is_drawn_in_place_of_the_samples_own():
    report = WhiteningReport(9, np.diag([4.0, 1.0]), np.eye(2), np.ones(2))
    figure = viz.whitening(ROWS[:3, :2], ROWS[:3, :2], report=report)
    assert lines(figure.axes[0])["before"].tolist() == [4, 1]


@pytest.mark.parametrize(
    ("before", "after", "options", "words"),
    [
        (np.ones((3, 2)), np.ones((2, 2)), {}, "before has 3 rows, but after has 2"),
        (np.ones((3, 2)), np.ones((3, 2)), {"names": ["a"]}, "names has 1 entries"),
        (np.ones(3), np.ones((3, 2)), {}, r"before has shape \(3,\)"),
        (ROWS, ROWS, {"shape": (5, 5)}, "needs 25"),
    ],
)
def test_what_does_not_fit_is_named(before, after, options, words):
    with pytest.raises(UsageError, match=words):
        viz.whitening(before, after, **options)
    with pytest.raises(DataError, match="not finite"):
        viz.whitening(np.full((2, 2), np.nan), np.ones((2, 2)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("preparation")
    np.save(folder / "rows.npy", ROWS.reshape(-1, 4, 4))
    words = ["train", folder / "rows.npy", "--out", folder / "run", "--set", "train.steps=2"]
    steps = 'preprocess.steps=["remove_dc", {kind="pca_whiten", epsilon=0.1, retained=0.9}]'
    more = ["--set", "data.kind=array", "--set", steps, "--set", "model.output=linear"]
    assert run_command_line([str(word) for word in [*words, *more]]) == 0
    return folder / "run"


def test_show_draws_the_preparation_of_a_runs_own_data(run, capsys):
    assert run_command_line(["show", str(run), "--what", "preparation"]) == 0
    assert capsys.readouterr().out.strip() == str(run / "preparation.png")
    with Image.open(run / "preparation.png") as picture:
        assert min(picture.size) > 600


def test_the_preparations_covariances_are_those_of_all_training_rows(run):
    trained = Run(run).load()
    source = ArraySource(ROWS[:150])
    figure = portrait.preparation(trained, source)
    before = figure.axes[1].images[0].get_array()
    np.testing.assert_allclose(before, np.cov(ROWS[:150].T, bias=True))
    after = trained.preprocess.apply(torch.from_numpy(ROWS[:150])).x.numpy()
    np.testing.assert_allclose(
        figure.axes[4].images[0].get_array(), np.cov(after.T, bias=True), atol=1e-12
    )
    assert any("remove_dc, pca_whiten" in text for text in texts(figure))


def test_a_chain_without_steps_is_drawn_too():
    trained = SimpleNamespace(
        preprocess=Preprocess([]).fit(lambda: [torch.from_numpy(ROWS)]),
        shape=(16,),
        input_names=None,
    )
    figure = portrait.preparation(trained, ArraySource(ROWS))
    assert any("no steps" in text for text in texts(figure))
