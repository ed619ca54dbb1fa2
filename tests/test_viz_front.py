"""viz.front: the points of a sweep, read back from the figure."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from simplecell import viz
from simplecell.errors import UsageError
from simplecell.viz.front import save_front
from simplecell.viz.style import BLUE, ORANGE


def point(x, y, line="", label=""):
    return {"x": x, "y": y, "line": line, "label": label}


def words(panel):
    return [text.get_text() for text in panel.texts]


def test_a_line_joins_its_points_from_left_to_right():
    points = [point(k, 1 / k, "activation=topk", f"k={k}") for k in (16, 4, 64)]
    points += [point(k, 0.5, "activation=relu", f"k={k}") for k in (8, 2)]
    figure = viz.front(points)
    figure.canvas.draw()
    (panel,) = figure.axes
    first, second = panel.lines
    assert list(first.get_xdata()) == [4, 16, 64]
    assert list(first.get_ydata()) == [1 / 4, 1 / 16, 1 / 64]
    assert list(second.get_xdata()) == [2, 8]
    assert [to_rgb(line.get_color()) for line in panel.lines] == [to_rgb(BLUE), to_rgb(ORANGE)]
    assert first.get_marker() != second.get_marker()
    shown = [text.get_text() for text in panel.get_legend().get_texts()]
    assert shown == ["activation=topk", "activation=relu"]
    assert words(panel) == ["k=4", "k=16", "k=64", "k=2", "k=8"]
    assert panel.get_xlabel() == "l0: active latents a sample"
    assert not panel.collections  # one seed each: the mean is the model


def test_axes_are_logarithmic_where_values_spread():
    (panel,) = viz.front([point(4, 0.1), point(64, 0.9, "", "b")]).axes
    assert (panel.get_xscale(), panel.get_yscale()) == ("log", "linear")
    (panel,) = viz.front([point(0.1, 0.01), point(0.15, 0.9, "", "b")], "mean activation").axes
    assert (panel.get_xscale(), panel.get_yscale()) == ("linear", "log")
    assert panel.get_xlabel() == "mean activation of the latents"
    (panel,) = viz.front([point(0, 0.0), point(60, 0.9, "", "b")]).axes
    assert (panel.get_xscale(), panel.get_yscale()) == ("linear", "linear")
    figure = viz.front([point(4, 0.1), point(16, 0.9, "", "b")])
    figure.canvas.draw()
    shown = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert {"4", "6", "8", "10"} <= set(shown)


def test_seeds_are_dots_around_their_mean():
    seeds = [(3.9, 0.30), (4.1, 0.34), (4.0, 0.26)]
    points = [point(x, y, "", "k=4") for x, y in seeds] + [point(8, 0.2, "", "k=8")]
    (panel,) = viz.front(points).axes
    (line,) = panel.lines
    assert line.get_xdata() == pytest.approx([4.0, 8.0])
    assert line.get_ydata() == pytest.approx([0.30, 0.2])
    (dots,) = panel.collections
    assert np.allclose(dots.get_offsets(), seeds)
    assert panel.get_legend() is None
    assert words(panel) == ["k=4", "k=8"]


def test_many_points_are_not_labelled_and_names_start_no_formula():
    (panel,) = viz.front([point(k, 0.5, "", f"k={k}") for k in range(1, 18)]).axes
    assert not words(panel)
    figure = viz.front([point(1, 0.5, "key=$a", "k=$1$")])
    figure.canvas.draw()
    assert words(figure.axes[0]) == ["k=$1$"]


def test_a_front_is_saved_or_there_is_none(tmp_path):
    assert save_front([], "l0", tmp_path / "front.png") is None
    assert not list(tmp_path.iterdir())
    path = tmp_path / "front.png"
    assert save_front([point(1, 0.5)], "l0", path) == str(path)
    with Image.open(path) as picture:
        assert min(picture.size) > 300
    with pytest.raises(UsageError, match="a front needs at least one model"):
        viz.front([])
