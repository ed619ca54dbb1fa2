"""viz.templates: the rows it draws are gradients of the classifier's own scores."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import issparse
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, KernelPCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import SelectKBest
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.svm import SVC

from simplecell import PatchScaling, SparseAutoencoder, Whitening
from simplecell.errors import UsageError
from simplecell.viz import templates, tiles
from simplecell.viz.templates import _linear

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 16)) * RNG.uniform(0.1, 5, 16) + RNG.normal(size=16)
Y = np.argmax(X @ RNG.normal(size=(16, 3)), axis=1)
NAMES = np.array(["cat", "dog", "eel"])[Y]


def gradient(score, width=16):
    """∂ score / ∂ x by differences, which are exact for a map without curvature [C, D]."""
    there = np.asarray(score(np.eye(width))).reshape(width, -1)
    return (there - np.asarray(score(np.zeros((1, width)))).reshape(1, -1)).T


def small(*steps):
    return make_pipeline(*steps, LogisticRegression(max_iter=200)).fit(X, NAMES)


CHAINS = {
    "standard": [StandardScaler()],
    "pca": [PCA(5)],
    "whitened pca": [PCA(5, whiten=True)],
    "zca": [Whitening(epsilon=0.01)],
    "zca without dc": [Whitening(epsilon=0.01, remove_dc=True)],
    "several": [MinMaxScaler(), "passthrough", StandardScaler(), Whitening("pca"), PCA(3)],
    "chosen columns": [SelectKBest(k=4)],
}


@pytest.mark.parametrize("steps", CHAINS.values(), ids=CHAINS)
def test_a_template_is_the_gradient_of_the_score_in_input_space(steps):
    classifier = small(*steps)
    rows, captions, _ = _linear(classifier)
    np.testing.assert_allclose(rows, gradient(classifier.decision_function), atol=1e-8)
    assert captions == ["cat", "dog", "eel"]
    drawn = tiles(rows, (4, 4), columns=3, labels=captions)
    assert templates(classifier).tobytes() == drawn.tobytes()


@pytest.mark.parametrize(
    "kind", [LogisticRegression(), RidgeClassifier(), SGDClassifier(random_state=0)]
)
def test_a_binary_classifier_has_both_signs(kind):
    two = NAMES != "eel"
    kind.fit(X[two], NAMES[two])
    rows, captions, _ = _linear(kind)
    np.testing.assert_allclose(rows[1], gradient(kind.decision_function)[0], atol=1e-12)
    np.testing.assert_array_equal(rows[0], -rows[1])
    assert captions == ["cat", "dog"]


def test_any_other_holder_of_coefficients():
    targets = X @ RNG.normal(size=(16, 2))
    regression = LinearRegression().fit(X, targets)
    rows, captions, _ = _linear(regression)
    np.testing.assert_allclose(rows, gradient(regression.predict), atol=1e-9)
    assert captions == ["target 0", "target 1"]
    assert _linear(Ridge().fit(X, targets[:, 0]))[0].shape == (1, 16)
    assert _linear(LinearDiscriminantAnalysis().fit(X, NAMES))[0].shape == (3, 16)
    search = GridSearchCV(small(StandardScaler()), {"logisticregression__C": [0.1]}, cv=2)
    assert templates(search.fit(X, NAMES)).size == templates(small()).size
    sparse = SGDClassifier(random_state=0).fit(X, NAMES).sparsify()
    assert issparse(sparse.coef_)
    assert _linear(sparse)[0].shape == (3, 16)


def test_pairwise_classifiers_are_captioned_by_their_pairs():
    machine = SVC(kernel="linear", decision_function_shape="ovo").fit(X, NAMES)
    rows, captions, _ = _linear(machine)
    assert captions == ["cat against dog", "cat against eel", "dog against eel"]
    # a positive score votes for the first of the two
    first = X @ rows.T + machine.intercept_ > 0
    votes = np.stack([first[:, 0] * 1 + first[:, 1], ~first[:, 0] * 1 + first[:, 2]])
    for number, name in enumerate(("cat", "dog")):
        assert (machine.predict(X)[votes[number] == 2] == name).all()
    two = SVC(kernel="linear").fit(X[NAMES != "eel"], NAMES[NAMES != "eel"])
    rows, captions, _ = _linear(two)
    assert captions == ["cat", "dog"]
    np.testing.assert_allclose(rows[1], gradient(two.decision_function)[0], atol=1e-9)


def test_colour_shapes_are_found_or_given():
    colour = LogisticRegression().fit(RNG.normal(size=(9, 48)), [0, 1, 2] * 3)
    drawn = templates(colour)
    assert drawn.tobytes() == templates(colour, (4, 4, 3)).tobytes()
    pixels = np.asarray(drawn).astype(int)
    assert (np.ptp(pixels, axis=2) > 100).any()
    assert templates(colour, (12, 4)).size != drawn.size
    with pytest.raises(UsageError, match=r"shape \(5, 5\) needs 25"):
        templates(colour, (5, 5))


def test_classes_stand_in_reading_order_five_a_row():
    ten = LogisticRegression().fit(np.eye(10, 16), range(10))
    assert templates(ten, zoom=4).width == 4 + 5 * (16 + 4)
    first = np.asarray(templates(ten, zoom=16))[16:80, 16:80]
    assert np.unravel_index(first[..., 0].argmax(), (64, 64)) < (16, 16)


def test_a_table_is_drawn_by_its_strongest_columns():
    frame = pd.DataFrame(X, columns=[f"column {i}" for i in range(16)])
    classifier = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, NAMES)
    assert _linear(classifier)[2][3] == "column 3"
    assert templates(classifier).size != templates(small(StandardScaler())).size
    assert templates(classifier, (4, 4)).size == templates(small(StandardScaler())).size
    assert templates(LogisticRegression().fit(X[:, :3], NAMES)).width > 100


def test_names_replace_the_classes():
    named = templates(small(), names=["a", "b", "c"])
    assert named.tobytes() != templates(small()).tobytes()
    with pytest.raises(UsageError, match="names has 2 entries, but there are 3"):
        templates(small(), names=["a", "b"])


@pytest.mark.parametrize("step", [Normalizer(), PolynomialFeatures(2), MinMaxScaler(clip=True)])
def test_a_step_that_is_not_affine_is_named(step):
    with pytest.raises(UsageError, match=rf"{type(step).__name__} is not an affine map"):
        templates(small(step))


def test_bends_beyond_and_between_the_unit_vectors_are_seen():
    clipped = FunctionTransformer(lambda z: np.clip(z, -500, 500))
    far = FunctionTransformer(lambda z: np.clip(z, -3e5, 3e5))
    for step in (clipped, far):
        with pytest.raises(UsageError, match="FunctionTransformer is not an affine map"):
            templates(small(step))
    digits = load_digits()
    for kernel in (KernelPCA(5, kernel="rbf"), Nystroem(n_components=20, random_state=0)):
        chain = make_pipeline(kernel, LogisticRegression()).fit(
            digits.data[:300], digits.target[:300]
        )
        with pytest.raises(UsageError, match="is not an affine map"):
            templates(chain)


def test_complex_coefficients_are_refused():
    odd = LinearRegression().fit(X, X[:, :2])
    odd.coef_ = odd.coef_ * 1j
    with pytest.raises(UsageError, match="coef_ of LinearRegression holds complex128"):
        templates(odd)


@pytest.mark.parametrize("options", [{"shape": w} for w in (8, (4.0, 4.0), "44")] + [{"zoom": 1.5}])
def test_wrong_sizes_are_named(options):
    with pytest.raises(UsageError, match=r"a tile is|zoom is 1.5"):
        templates(small(), **options)


def test_codes_and_clipped_patches_have_no_template_of_their_own():
    for step in (PatchScaling(), SparseAutoencoder(4, max_iter=2, random_state=0)):
        with pytest.raises(UsageError, match="not an affine map"):
            templates(small(step))


def test_what_has_no_coefficients_is_refused():
    for wrong in (KMeans(2, n_init=1).fit(X), LogisticRegression()):
        with pytest.raises(UsageError, match=f"{type(wrong).__name__} has no coef_"):
            templates(wrong)
