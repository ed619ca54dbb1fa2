"""playground.json and weights.bin: what the browser computes from, and when it cannot."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch

from play_models import ACTIVATIONS, CHAINS, OUTPUTS, trained_of, wide
from play_runs import clock
from simplecell.explorer.export import STATIC
from simplecell.explorer.make.playground import MOST_FLOATS, write_play
from simplecell.model import activations
from simplecell.model.autoencoder import Autoencoder, Layer
from simplecell.model.deep import Classifier
from simplecell.run.directory import Run

SCRIPT = STATIC / "play" / "activations.js"


def written(trained, folder):
    write_play(trained, folder, -1.5, 2.0)
    play = json.loads((folder / "playground.json").read_text(encoding="utf-8"))
    return play, np.frombuffer((folder / "weights.bin").read_bytes(), dtype="<f4")


def tensor(play, numbers, name):
    place = play["tensors"][name]
    size = int(np.prod(place["shape"]))
    return numbers[place["at"] : place["at"] + size].reshape(place["shape"])


def test_the_files_hold_the_weights_in_their_order(tmp_path):
    trained = trained_of("sigmoid", chain="standardize")
    play, numbers = written(trained, tmp_path)
    assert play["here"] is True
    assert play["reason"] is None
    assert (play["low"], play["high"]) == (-1.5, 2.0)
    layer = play["layers"][0]
    np.testing.assert_array_equal(
        tensor(play, numbers, layer["encoder"]), trained.model.encoder.detach().numpy()
    )
    assert tensor(play, numbers, layer["center"]).any()
    mean = tensor(play, numbers, play["steps"][0]["mean"])
    np.testing.assert_allclose(mean, trained.preprocess.state()["0.mean"].numpy(), rtol=1e-6)
    assert len(numbers) == sum(int(np.prod(t["shape"])) for t in play["tensors"].values())


def test_a_mean_is_written_with_what_32_bits_leave_of_it(tmp_path):
    play, numbers = written(clock(tmp_path).load(), tmp_path)
    step = play["steps"][0]
    parts = [tensor(play, numbers, step[name]).astype(np.float64) for name in ("mean", "rest")]
    wanted = Run(tmp_path / "clock").load().preprocess.state()["0.mean"].numpy()
    np.testing.assert_allclose(sum(parts), wanted, rtol=1e-14)
    assert abs(parts[0] - wanted)[0] > 1


def test_a_center_of_zeros_is_left_out(tmp_path):
    play, _ = written(wide(Autoencoder(4, 3)), tmp_path)
    assert play["layers"][0]["center"] is None


def test_tied_weights_and_a_shared_center_are_written_once(tmp_path):
    trained = trained_of("relu", tied=True, pre_bias=True)
    play, numbers = written(trained, tmp_path)
    layer = play["layers"][0]
    assert layer["decoder"] == layer["encoder"]
    assert layer["center"] == layer["offset"]
    m, d = trained.model.encoder.shape
    assert len(numbers) == m * d + m + d


def test_a_gaussian_code_is_its_mean(tmp_path):
    trained = trained_of("gaussian")
    play, numbers = written(trained, tmp_path)
    layer, m = play["layers"][0], trained.model.n_latents
    assert layer["activation"] == {"kind": "identity"}
    assert len(tensor(play, numbers, layer["encoder"])) == m
    x = np.ones((1, trained.model.n_inputs), dtype=np.float32)
    x0 = x - tensor(play, numbers, layer["center"])
    code = x0 @ tensor(play, numbers, layer["encoder"]).T + tensor(play, numbers, layer["bias"])
    np.testing.assert_allclose(code, trained.encode(x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_every_model_is_described(kind, chain, tmp_path):
    play, numbers = written(trained_of(kind, output=OUTPUTS[0], chain=chain), tmp_path)
    assert play["here"]
    assert all(step["kind"] in ("remove_dc", "affine") for step in play["steps"])
    for place in play["tensors"].values():
        assert place["at"] + int(np.prod(place["shape"])) <= len(numbers)


@pytest.mark.parametrize("kind", activations.ACTIVATIONS)
def test_an_activation_is_in_the_page_or_said_not_to_be_here(kind, monkeypatch, tmp_path):
    made = activations.ACTIVATIONS[kind]
    table = re.search(r"ACTIVATIONS = \{(.*?)\n\};", SCRIPT.read_text(encoding="utf-8"), re.S)
    functions = re.findall(r"^  (\w+): \(", table.group(1), re.M)
    assert made.page is None or made.page[0] in functions
    monkeypatch.setattr(made, "page", None)
    play, numbers = written(trained_of(kind), tmp_path)
    assert play["here"] is False
    assert f"'{kind}'" in play["reason"]
    assert len(numbers) == 0


def test_a_model_too_large_says_how_large(tmp_path):
    model = Autoencoder(1024, MOST_FLOATS // 2048 + 1)
    play, numbers = written(wide(model), tmp_path)
    assert play["here"] is False
    assert "2,097,152" in play["reason"]
    assert play["tensors"] == {}
    assert play["layers"] == []
    assert len(numbers) == 0


def test_a_classifier_has_nothing_to_play_with(tmp_path):
    play, numbers = written(wide(Classifier([Layer(4, 3)], 2)), tmp_path)
    assert play["here"] is False
    assert "classes" in play["reason"]
    assert len(numbers) == 0


@pytest.mark.parametrize(
    ("shape", "kind", "wanted"),
    [
        ((28, 28), "pictures", "digit"),
        ((8, 8), "pictures", "picture"),
        ((8, 8, 3), "array", "picture"),
        ((10, 10), "patches", "patches"),
        ((12,), "table", "row"),
    ],
)
def test_what_a_person_gives_follows_from_the_data(shape, kind, wanted, tmp_path):
    trained = wide(Autoencoder(int(np.prod(shape)), 2), shape=shape, kind=kind)
    play, _ = written(trained, tmp_path)
    assert play["input"] == wanted
    assert (play["patch"] is not None) == (wanted == "patches")


def test_a_patch_says_how_its_picture_was_prepared(tmp_path):
    trained = wide(Autoencoder(300, 2), shape=(10, 10, 3), kind="patches", whiten="1/f")
    play, _ = written(trained, tmp_path)
    assert play["patch"] == {"side": 10, "color": "color", "whiten": "1/f", "cutoff": 0.4}


def test_float64_models_become_float32(tmp_path):
    trained = wide(Autoencoder(4, 3, dtype=torch.float64))
    play, numbers = written(trained, tmp_path)
    assert numbers.dtype == np.float32
    assert len(numbers) == 4 * 3 * 2 + 3 + 4
    assert play["tensors"]["layers.0.encoder"] == {"at": 0, "shape": [3, 4]}
