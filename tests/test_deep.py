"""Networks of layers: unrolling, gradients of every new objective, noise, ascent, any modules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from simplecell import check_gradient
from simplecell.data import ArraySource
from simplecell.data.rows import Paired
from simplecell.errors import DataError, UsageError
from simplecell.model.autoencoder import Autoencoder, Layer
from simplecell.model.codes import Codes
from simplecell.model.deep import Classifier, DeepAutoencoder, ModulePair, Network, exciting
from simplecell.model.measures import cross_entropy, kl_gaussian, softmax_entropy
from simplecell.training.gradient_check import cost_function
from simplecell.training.gradients import Whole, average_over
from simplecell.training.objective import Objective
from simplecell.training.prepared import Corruption
from simplecell.training.term import Look
from simplecell.training.trainer import Trainer
from simplecell.training.weights import flatten, initialise
from whole_objective import cost_of, value

DOUBLE = torch.float64


@pytest.fixture
def x():
    return torch.rand(12, 6, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))


def deep(sizes=(5, 4, 3), **settings):
    network = DeepAutoencoder.of_sizes(6, sizes, dtype=DOUBLE, **settings)
    initialise(network, 0)
    return network


def test_unrolled_layers_are_one_inside_the_other(x):
    network = deep()
    one, two, three = network.layers
    code = three.encode(two.encode(one.encode(x)[1].dense)[1].dense)[1]
    recon = one.decode(Codes(two.decode(Codes(three.decode(code)))))
    output = network(x)
    assert torch.equal(output.code.dense, code.dense)
    assert torch.allclose(output.recon, recon, rtol=1e-14)
    assert [layer.output for layer in network.layers] == ["sigmoid"] * 3
    assert (network.n_inputs, network.n_latents) == (6, 3)


def test_each_layer_reproduces_the_range_of_the_codes_below():
    network = deep(activation=["tanh", "relu", "identity"], output="sigmoid")
    assert [layer.output for layer in network.layers] == ["sigmoid", "tanh", "relu"]


@pytest.mark.parametrize(
    ("settings", "terms"),
    [
        ({}, {"reconstruction": {}, "kl": {"target": 0.2}, "decay": {"weight": 0.01}}),
        ({"activation": "tanh"}, {"cross_entropy": {}, "kl": {}, "decay": {"weight": 0.01}}),
        ({"activation": ["tanh", "sigmoid", "identity"]}, {"cross_entropy": {}}),
    ],
)
def test_gradients_of_deep_objectives(x, settings, terms):
    function, at = cost_function(deep((4, 3, 2), **settings), Objective(terms), x)
    assert check_gradient(function, at).difference < 1e-9


def test_gradient_of_the_classifier_reaches_every_layer(x):
    labels = torch.arange(12) % 3
    network = Classifier(deep((4, 3)).layers, 3)
    with torch.no_grad():
        network.decoder.copy_(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))
    targets = nn.functional.one_hot(labels, 3).double()
    objective = Objective({"softmax": {}, "decay": {"weight": 0.05}})
    flat, grad = flatten(network)

    def function(theta):
        flat.copy_(torch.from_numpy(theta))
        grad.zero_()
        cost = value(objective, network, x, targets)
        cost.backward()
        return cost.item(), grad.numpy().copy()

    check = check_gradient(function, flat.numpy().copy())
    assert check.difference < 1e-9
    start = 0
    for name, parameter in network.named_parameters():
        part = np.abs(check.analytic[start : start + parameter.numel()])
        # The decoders of the layers play no part in a classifier.
        assert (part.max() > 1e-8) != ("stack" in name and ("_decoder" in name or "offset" in name))
        start += parameter.numel()


def test_decay_of_a_classifier_is_on_the_softmax_alone(x):
    network = Classifier(deep((5,)).layers, 2)
    with torch.no_grad():
        network.decoder.fill_(2.0)
    look = Look(x, torch.zeros(12, 2, dtype=DOUBLE), network(x), network)
    assert cost_of(Objective({"decay": {"weight": 1.0}}), look).item() == 4.0 * 10


def test_gradient_of_the_variational_objective(x):
    """With the noise fixed the cost is an ordinary function of the weights."""
    network = deep((4, 2), activation=["tanh", "gaussian"])
    objective = Objective({"cross_entropy": {}, "gaussian_kl": {"weight": 0.7}})
    flat, grad = flatten(network)

    def function(theta):
        flat.copy_(torch.from_numpy(theta))
        grad.zero_()
        output = network(x, training=True, generator=torch.Generator().manual_seed(3))
        cost = cost_of(objective, Look(x, x, output, network))
        cost.backward()
        return cost.item(), grad.numpy().copy()

    assert check_gradient(function, flat.numpy().copy()).difference < 1e-9


def test_a_gaussian_code_is_its_mean_in_use_and_noisy_in_training(x):
    network = deep((3,), activation="gaussian")
    pre, code = network.encode(x)
    assert torch.equal(code.dense, pre[:, :3])
    again = [
        network.encode(x, training=True, generator=torch.Generator().manual_seed(s))[1].dense
        for s in (5, 5, 6)
    ]
    assert torch.equal(again[0], again[1])
    assert not torch.equal(again[0], again[2])
    noise = torch.randn(12, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(5))
    assert torch.allclose(again[0], pre[:, :3] + (pre[:, 3:] / 2).exp() * noise)


def test_kl_gaussian_by_hand():
    """Against torch's own divergence of normal distributions."""
    mean, log_variance = torch.randn(7, 3, dtype=DOUBLE), torch.randn(7, 3, dtype=DOUBLE)
    normal = torch.distributions.Normal
    slow = torch.distributions.kl_divergence(
        normal(mean, (log_variance / 2).exp()), normal(0.0, 1.0)
    )
    assert kl_gaussian(mean, log_variance).item() == pytest.approx(slow.sum(1).mean().item())
    assert kl_gaussian(torch.zeros(2, 3), torch.zeros(2, 3)).item() == 0


def test_cross_entropies_by_hand(x):
    raw = torch.randn(12, 6, dtype=DOUBLE)
    p = raw.sigmoid()
    slow = -(x * p.log() + (1 - x) * (1 - p).log()).sum(1).mean()
    assert cross_entropy(raw, x).item() == pytest.approx(slow.item())
    wrong = torch.tensor([[300.0]], requires_grad=True)
    cross_entropy(wrong, torch.zeros(1, 1)).backward()
    assert wrong.grad is not None
    assert wrong.grad.item() == 1
    probabilities = raw.softmax(1)
    assert softmax_entropy(raw, nn.functional.one_hot(torch.arange(12) % 6, 6)).item() == (
        pytest.approx(-probabilities[torch.arange(12), torch.arange(12) % 6].log().mean().item())
    )


def test_chunks_equal_the_whole_in_deep_networks(x):
    from simplecell.training.gradients import Gradient

    network = deep((5, 4))
    objective = Objective({"reconstruction": {}, "kl": {"target": 0.2}, "decay": {}})
    _, grad = flatten(network)
    gradient = Gradient(network, objective)
    whole = gradient(Whole(x)), grad.clone()

    class Pieces(Whole):
        def __len__(self):
            return 3

        def __iter__(self):
            for part in x.split(5):
                yield part, part

    assert average_over(network, Pieces(x)).mean.shape == (4,)
    pieces = gradient(Pieces(x)), grad.clone()
    assert pieces[0].cost.item() == pytest.approx(whole[0].cost.item(), rel=1e-13)
    assert torch.allclose(pieces[1], whole[1], rtol=1e-11, atol=1e-14)


def test_for_one_layer_the_ascent_is_the_closed_form():
    layer = Autoencoder(9, 4, dtype=DOUBLE)
    initialise(layer, 0)
    closed = nn.functional.normalize(layer.directions())
    assert torch.allclose(exciting(layer), closed, atol=1e-12)
    jacobian = torch.randn(9, 7, dtype=DOUBLE, generator=torch.Generator().manual_seed(2))
    closed = nn.functional.normalize(layer.directions() @ jacobian)
    assert torch.allclose(exciting(layer, jacobian), closed, atol=1e-12)


def test_no_random_input_of_the_ball_excites_a_deep_latent_more():
    network = deep((8, 5), activation="tanh")
    for radius in (1.0, 4.0):
        best = exciting(network, radius=radius)
        assert best.norm(dim=1).max().item() <= radius + 1e-9
        reached = network.encode(best)[0].diagonal()
        others = torch.randn(20_000, 6, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
        others = radius * nn.functional.normalize(others)
        assert (reached >= network.encode(others)[0].amax(0) - 1e-3).all()


def test_upto_is_the_network_below():
    network = deep((5, 4, 3))
    x = torch.rand(2, 6, dtype=DOUBLE)
    assert network.upto(1) is network.layers[0]
    assert torch.equal(network.upto(2).encode(x)[0], Network(network.layers[:2]).encode(x)[0])
    with pytest.raises(UsageError, match="layer 4 does not exist"):
        network.upto(4)


def test_tensors_go_and_come_back():
    first, second = deep((5, 3)), deep((5, 3))
    first.layers[0].set_center(torch.full((6,), 0.25))
    second.load_tensors(first.tensors())
    x = torch.rand(3, 6, dtype=DOUBLE)
    assert torch.equal(first(x).recon, second(x).recon)
    assert sorted(first.tensors())[:5] == [
        "0.bias",
        "0.center",
        "0.decoder",
        "0.encoder",
        "0.offset",
    ]
    with pytest.raises(DataError, match=r"'1\.encoder' is of shape"):
        deep((5, 4)).load_tensors(first.tensors())


def test_the_center_is_taken_from_the_input_and_not_from_the_target():
    layer = Autoencoder(4, 3, dtype=DOUBLE)
    initialise(layer, 0)
    x = torch.rand(5, 4, dtype=DOUBLE)
    plain = layer.encode(x - 0.5)[0]
    layer.set_center(torch.full((4,), 0.5))
    assert torch.allclose(layer.encode(x)[0], plain)


def test_atoms_are_what_a_code_adds():
    network = deep((5, 3))
    code = torch.eye(3, dtype=DOUBLE)
    added = network.decode_raw(Codes(code)) - network.decode_raw(Codes(0 * code))
    assert torch.allclose(network.atoms(), added)


def test_any_two_modules_train():
    x = np.random.default_rng(0).random((200, 6))
    pair = ModulePair(
        nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)),
        nn.Linear(3, 6),
        n_inputs=6,
        activation="sigmoid",
    )
    trainer = Trainer(pair, Objective({"reconstruction": {}, "kl": {"target": 0.2}, "decay": {}}))
    costs = [float(record.cost) for record in trainer.run(ArraySource(x), 30)]
    assert costs[-1] < 0.7 * costs[0]
    assert pair.n_latents == 3
    assert len(pair.matrices()) == 3
    code = pair.encode(torch.from_numpy(x).float())[1]
    assert torch.equal(pair.decode(code), pair(torch.from_numpy(x).float()).recon)


@pytest.mark.parametrize(
    ("encoder", "decoder", "sentence"),
    [
        (nn.Linear(6, 3), nn.Linear(4, 6), "do not fit together"),
        (nn.Linear(6, 3), nn.Linear(3, 5), r"a reconstruction of shape \(1, 5\)"),
        (nn.Linear(7, 3), nn.Linear(3, 7), "do not fit together"),
    ],
)
def test_modules_that_do_not_fit_are_refused(encoder, decoder, sentence):
    with pytest.raises(UsageError, match=sentence):
        ModulePair(encoder, decoder, n_inputs=6)


def test_networks_that_cannot_be_are_refused():
    with pytest.raises(UsageError, match="at least one"):
        DeepAutoencoder([])
    with pytest.raises(UsageError, match="3 inputs cannot stand on one with 4 latents"):
        Network([Layer(6, 4), Layer(3, 2)])
    with pytest.raises(UsageError, match="2 activations"):
        DeepAutoencoder.of_sizes(6, (5, 4, 3), activation=["tanh", "tanh"])
    with pytest.raises(UsageError, match="one row a latent"):
        Autoencoder(6, 3, activation="gaussian", tied=True)


@pytest.mark.parametrize(
    ("terms", "settings", "sentence"),
    [
        ({"cross_entropy": {}}, {"output": "linear"}, "needs the output 'sigmoid'"),
        ({"softmax": {}}, {}, "needs the output 'softmax'"),
        ({"gaussian_kl": {}}, {}, "drawn from a Gaussian"),
    ],
)
def test_terms_without_a_meaning_are_refused(terms, settings, sentence):
    with pytest.raises(UsageError, match=sentence):
        Trainer(deep(**settings), Objective(terms))


def test_noise_needs_adam(x):
    with pytest.raises(UsageError, match="use 'adam'"):
        Trainer(deep((3,), activation="gaussian"), Objective({"gaussian_kl": {}}))
    with pytest.raises(UsageError, match="use 'adam'"):
        Trainer(deep(), Objective({"decay": {}}), corruption=Corruption("mask", 0.3))


def test_modules_with_dropout_need_adam(x):
    pair = ModulePair(nn.Sequential(nn.Linear(6, 3), nn.Dropout(0.5)), nn.Linear(3, 6), n_inputs=6)
    assert pair.draws_noise
    with pytest.raises(UsageError, match="passes that draw noise differ; use 'adam'"):
        Trainer(pair, Objective({"reconstruction": {}}))
    trainer = Trainer(pair, Objective({"reconstruction": {}}), solver="adam")
    assert len(list(trainer.run(ArraySource(x.float().numpy()), 3))) == 3


def test_corruption_is_what_it_says():
    x = torch.ones(200, 300)
    generator = torch.Generator().manual_seed(0)
    assert Corruption("mask", 0.3)(x, generator).mean().item() == pytest.approx(0.7, abs=0.01)
    noisy = Corruption("gaussian", 0.5)(x, generator)
    assert noisy.std().item() == pytest.approx(0.5, abs=0.01)
    assert not Corruption()
    assert not Corruption("mask", 0.0)
    for wrong in (("mask", 1.0), ("mask", -0.1), ("gaussian", float("inf"))):
        with pytest.raises(UsageError, match="level of the corruption"):
            Corruption(*wrong)
    with pytest.raises(UsageError, match="unknown corruption 'masc'"):
        Corruption("masc", 0.1)


@pytest.mark.parametrize("noise", ["gaussian code", "mask"])
def test_training_with_noise_resumes_bit_for_bit(noise):
    source = ArraySource(np.random.default_rng(0).random((60, 6)).astype(np.float32))

    def trainer():
        variational = noise == "gaussian code"
        model = DeepAutoencoder.of_sizes(
            6, (5, 2), activation=["tanh", "gaussian" if variational else "sigmoid"]
        )
        initialise(model, 0)
        model.layers[0].set_center(torch.full((6,), 0.5))
        terms = {"cross_entropy": {}, **({"gaussian_kl": {}} if variational else {})}
        corruption = Corruption() if variational else Corruption("mask", 0.3)
        return Trainer(model, Objective(terms), solver="adam", batch_size=20, corruption=corruption)

    whole = trainer()
    for _ in whole.run(source, 20):
        pass
    first = trainer()
    for record in first.run(source, 20):
        if record.step == 7:
            break
    second = trainer()
    second.load_state_dict(first.state_dict())
    for _ in second.run(source, 20):
        pass
    assert torch.equal(whole.flat, second.flat)


def test_targets_follow_their_rows():
    x = np.arange(40, dtype=np.float32).reshape(40, 1) / 40
    targets = torch.from_numpy(np.concatenate([1 - x, x], axis=1))
    for solver, steps in (("lbfgs", 60), ("adam", 200)):
        network = Classifier([Layer(1, 4)], 2)
        initialise(network, 0)
        trainer = Trainer(
            network, Objective({"softmax": {}}), solver=solver, batch_size=10, learning_rate=0.2
        )
        for _ in trainer.run(Paired(ArraySource(x), ArraySource(targets.numpy())), steps):
            pass
        found = network(torch.from_numpy(x)).recon.detach()
        assert (found - targets).abs().max().item() < 0.1
