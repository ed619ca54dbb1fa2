"""viz.plots, viz.tables, viz.drawing: what is drawn, read back from the figures."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.patches import Circle
from PIL import Image

from simplecell import viz
from simplecell.errors import DataError, UsageError
from simplecell.viz.style import BLUE, ORANGE

RNG = np.random.default_rng(0)


def bernoulli(p, q):
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def texts(figure):
    """Every word of a figure, after one full drawing of it."""
    figure.canvas.draw()
    return [t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text")) if t.get_text()]


def records(n, *, activation=True):
    return [
        {
            "step": i,
            "cost": 0.5 + 10 / (i + 1),
            "terms": {"reconstruction": 1.0, "kl": 0.1 + 3 / (i + 1)},
            "held_out_cost": 0.6 + 10 / (i + 1) if i % 5 == 0 else None,
            "mean_activation": {"min": 0.009, "mean": 0.01 + 0.5 / (i + 1), "max": 0.6}
            if activation
            else None,
        }
        for i in range(n)
    ]


def test_curve_draws_cost_and_weighted_parts_and_the_target():
    figure = viz.curve(records(20), 0.01, weights={"reconstruction": 0.5, "kl": 3.0})
    cost, activation = figure.axes
    lines = {line.get_label(): line.get_ydata() for line in cost.lines}
    assert list(lines) == ["cost", "cost, held out", "reconstruction × 0.5", "kl × 3"]
    assert lines["reconstruction × 0.5"] == pytest.approx(np.full(20, 0.5))
    assert len(lines["cost, held out"]) == 4
    assert cost.get_yscale() == "log"
    assert activation.get_yscale() == "log"
    assert [0.01, 0.01] in [list(line.get_ydata()) for line in activation.lines]
    assert "target 0.01" in texts(figure)


def test_curve_says_when_parts_are_unweighted_and_leaves_out_what_is_missing():
    bare = [{"step": 1, "cost": -2.0}, {"step": 2, "cost": 3.0}]
    figure = viz.curve(bare)
    assert len(figure.axes) == 1
    assert figure.axes[0].get_yscale() == "linear"
    words = texts(viz.curve(records(3, activation=False)))
    assert "kl, unweighted" in words


def test_curve_of_one_record_has_visible_points_and_of_none_is_an_error():
    assert viz.curve(records(1), 0.01).axes[0].lines[0].get_marker() == "o"
    with pytest.raises(UsageError, match="at least one"):
        viz.curve([], 0.01)


def test_kl_draws_what_the_given_formula_says():
    figure = viz.kl(bernoulli, target=0.2)
    penalty, both, triangle = figure.axes
    q, value = penalty.lines[0].get_data()
    assert value == pytest.approx(bernoulli(0.2, q))
    assert both.lines[1].get_ydata() == pytest.approx(bernoulli(q, 0.2))
    direct, first, second = (bar.get_height() for bar in triangle.patches)
    assert direct > first + second
    assert "No triangle inequality" in texts(figure)
    with pytest.raises(UsageError, match=r"target is 1\.5"):
        viz.kl(bernoulli, target=1.5)


def test_the_six_three_six_network_has_the_textbook_parts():
    figure = viz.network([6, 3, 6])
    words = texts(figure)
    assert words.count("+1") == 2
    assert {"$x_{1}$", "$x_{6}$", r"$\hat{x}_{6}$", "Layer $L_{3}$"} <= set(words)
    assert len(figure.findobj(Circle)) == 6 + 1 + 3 + 1 + 6
    lines = figure.findobj(LineCollection)
    assert [len(c.get_segments()) for c in lines] == [7 * 3, 4 * 6]


def test_a_wide_layer_is_drawn_as_first_and_last_units():
    figure = viz.network([784, 10, 784], bias_units=False)
    words = texts(figure)
    assert "+1" not in words
    assert {"$x_{1}$", "$x_{783}$", "$x_{784}$"} <= set(words)
    assert "$x_{100}$" not in words
    assert "Layer $L_{1}$\n784 units" in words


def test_weights_give_lines_their_colour_and_width():
    encoder, decoder = np.array([[1.0, -2.0]]), np.array([[0.5, 0.0]])
    figure = viz.network([2, 1, 2], weights=(encoder, decoder), bias_units=False)
    first, second = figure.findobj(LineCollection)
    assert [tuple(c[:3]) for c in first.get_colors()] == [to_rgb(BLUE), to_rgb(ORANGE)]
    widths = [*first.get_linewidths(), *second.get_linewidths()]
    assert sorted(widths, reverse=True) == [widths[1], widths[0], widths[2], widths[3]]


def test_only_weights_leave_room_for_their_key():
    plain = viz.network([2, 1, 2])
    weighted = viz.network([2, 1, 2], weights=(np.ones((1, 2)), np.ones((1, 2))))
    assert plain.get_figheight() < weighted.get_figheight()
    for figure in (plain, weighted):  # nothing is cut off
        axes, drawn = figure.axes[0], FigureCanvasAgg(figure).get_renderer()
        for text in axes.texts:
            box = text.get_window_extent(drawn)
            assert box.y0 >= 0
            assert box.y1 <= figure.bbox.height


def test_names_are_taken_literally():
    names = ["cost in $", "a_b$c$", "ok"]
    assert set(names) <= set(texts(viz.network([3, 2, 3], names=names)))
    assert viz.bars(RNG.normal(size=(2, 3)), names).size[0] > 100
    assert set(names) <= set(texts(viz.heatmap_table(np.eye(3), names, names)))


@pytest.mark.parametrize(
    ("sizes", "options", "message"),
    [
        ([3], {}, "two layers or more"),
        ([3, 0, 3], {}, "two layers or more"),
        ([3, 2, 3], {"names": ["a"]}, "names has 1 entries, but the first layer has 3"),
        ([3, 2, 3], {"weights": (np.ones((3, 2)), np.ones((2, 3)))}, r"encoder has shape \(3, 2\)"),
        ([3, 2], {"weights": (np.ones((2, 3)),)}, "three layers"),
    ],
)
def test_networks_that_do_not_fit_are_named(sizes, options, message):
    with pytest.raises(UsageError, match=message):
        viz.network(sizes, **options)


def test_bars_are_blue_for_positive_and_orange_for_negative():
    image = viz.bars([[3.0, -2.0, 0.1]], ["a", "b", "c"])
    assert isinstance(image, Image.Image)
    rows = np.asarray(image)
    blue, orange = (  # the longest stretch of the colour in a line of pixels
        np.all(rows == np.rint(np.array(to_rgb(c)) * 255), axis=2).sum(axis=1).max()
        for c in (BLUE, ORANGE)
    )
    assert blue > 60
    assert orange / blue == pytest.approx(2 / 3, abs=0.04)


def test_bars_beyond_the_limit_are_cut_and_the_title_says_so(monkeypatch):
    seen = []
    from simplecell.viz import numbers

    original = numbers._sheet
    monkeypatch.setattr(numbers, "_sheet", lambda *a: seen.append(a[-1]) or original(*a))
    cut = viz.bars(RNG.normal(size=(24, 3)), list("abc"), limit=10, title="T")
    assert seen == ["T — first 10 of 24"]
    assert cut.size == viz.bars(RNG.normal(size=(10, 3)), list("abc"), title="T").size


def test_bars_of_a_silent_latent_and_wrong_names():
    assert viz.bars(np.zeros((1, 2)), ["a", "b"]).size[0] > 100
    with pytest.raises(UsageError, match="names has 1 entries, but values has 2 columns"):
        viz.bars(np.ones((1, 2)), ["a"])
    with pytest.raises(DataError, match="1 values that are not finite"):
        viz.bars([[np.nan, 1.0]], ["a", "b"])


def test_heatmap_writes_its_numbers():
    figure = viz.heatmap_table([[0.126, -1.0], [0.0, -0.001]], ["p", "q"], ["u", "v"], "Codes")
    assert {"0.13", "-1.00", "0.00", "p", "v", "Codes"} <= set(texts(figure))
    assert "-0.00" not in texts(figure)
    with pytest.raises(UsageError, match="1 row names"):
        viz.heatmap_table(np.eye(2), ["p"], ["u", "v"])


def test_scatter_tells_labels_apart():
    codes = RNG.normal(size=(30, 2))
    assert {"cat", "dog$"} <= set(texts(viz.scatter_codes(codes, ["cat", "dog$"] * 15)))
    assert len(viz.scatter_codes(codes, range(30)).axes) == 2
    assert len(viz.scatter_codes(codes).axes[0].collections) == 1
    with pytest.raises(UsageError, match="30 different names"):
        viz.scatter_codes(codes, [f"name {i}" for i in range(30)])
    with pytest.raises(UsageError, match="needs 2"):
        viz.scatter_codes(np.ones((3, 4)))


def test_ten_thousand_codes_of_ten_classes_keep_their_names_and_colours():
    labels = RNG.integers(0, 10, 10_000)
    codes = RNG.normal(size=(10_000, 2)) + 3 * np.column_stack([labels % 3, labels // 3])
    panel = viz.scatter_codes(codes, labels).axes[0]
    cloud, *legend = panel.collections
    assert len(cloud.get_offsets()) == 10_000
    assert len(legend) == 10
    colours = {c.get_label(): tuple(c.get_facecolor()[0][:3]) for c in legend}
    assert len(set(colours.values())) == 10
    # every point has the colour that the legend gives its class, in an order without classes
    where = {tuple(code): label for code, label in zip(codes, labels, strict=True)}
    shown = [where[tuple(code)] for code in cloud.get_offsets()]
    for label, colour in zip(shown, cloud.get_facecolors(), strict=True):
        assert tuple(colour[:3]) == colours[str(label)]
    assert sum(a != b for a, b in pairwise(shown)) > 8000
    written = {text.get_text(): text.get_position() for text in panel.texts}
    for label in range(10):
        assert written[str(label)] == pytest.approx(np.median(codes[labels == label], axis=0))


def test_few_codes_differ_in_marker_too_and_long_names_stay_in_the_legend():
    codes = RNG.normal(size=(30, 2))
    panel = viz.scatter_codes(codes, ["short", "a rather long name"] * 15).axes[0]
    first, second = panel.collections
    assert len(first.get_paths()[0]) != len(second.get_paths()[0])
    assert len(panel.texts) == 0


@pytest.mark.parametrize(
    ("retained", "words"),
    [(0.9, "3 of 4 keep 93.8%"), (2, "2 of 4 keep 81.2%"), (1.0, "4 of 4 keep 100.0%")],
)
def test_spectrum_marks_what_is_retained(retained, words):
    assert words in texts(viz.spectrum([2.0, 8.0, 5.0, 1.0], retained))


def test_spectrum_takes_a_title():
    assert "Digits" in texts(viz.spectrum([2.0, 1.0], title="Digits"))
    assert "Spectrum" in texts(viz.spectrum([2.0, 1.0]))


def test_spectrum_refuses_what_cannot_be():
    assert viz.spectrum([1.0, 0.0]).axes[0].get_yscale() == "linear"
    for wrong in (0, 5, 1.5, 0.0):
        with pytest.raises(UsageError, match="retained is"):
            viz.spectrum([1.0, 2.0, 3.0], wrong)
    with pytest.raises(UsageError, match="all zero"):
        viz.spectrum([0.0, 0.0])
