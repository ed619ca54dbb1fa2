"""Other libraries' files: read as they mean them, refused by name, written and read back."""

from __future__ import annotations

import contextlib
import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import foreign_files as files
import simplecell
from foreign_files import D, K, M
from simplecell.cli import run_command_line
from simplecell.errors import RunError, UsageError
from simplecell.interop.conversion import convert, opened
from simplecell.interop.formats import FORMATS, written
from simplecell.interop.saelens_config import ARCHITECTURES, REFUSED
from simplecell.interop.verify import differences, ours, random_samples

N = files.numbers()
LENGTHS = N["long"].norm(dim=1)
ONES = torch.ones(M)


def samples():
    return 1.5 * torch.randn(200, D, generator=torch.Generator().manual_seed(9)).double()


def oracle(x, activation, subtract=True, **more):
    """Codes and reconstructions by the formula, with nothing of the package's."""
    n = {name: t.double() for name, t in N.items()}
    own = {name: t.double() if hasattr(t, "double") else t for name, t in more.items()}
    encoder, offset = own.get("encoder", n["encoder"]), own.get("offset", n["offset"])
    factor, theta = own.get("factor", 1), own.get("theta", n["threshold"])
    products = (x - (n["offset"] if subtract else 0)) @ encoder.T
    pre = (products + n["bias"] + more.get("shift", 0)) * factor
    if "norm" in more:
        mean, deviation, gain, shift = (t.double() for t in more["norm"])
        pre = (pre - mean) / deviation * gain + shift
    if activation == "relu":
        code = pre.clamp_min(0)
    elif activation == "topk":
        least = pre.sort(dim=1, descending=True).values[:, K - 1 : K]
        code = torch.where(pre >= least, pre, 0).clamp_min(0)
    elif activation == "abstopk":
        least = pre.abs().sort(dim=1, descending=True).values[:, K - 1 : K]
        code = torch.where(pre.abs() >= least, pre, 0)
    elif activation == "jumprelu":
        code = torch.where(pre > theta, pre, 0).clamp_min(0)
    else:
        code = (n["scale"].exp() * products + n["magnitude"]).clamp_min(0)
        code = code * (products + n["gate"] > 0)
    atoms = n[more["atoms"]] if isinstance(more.get("atoms"), str) else own.get("atoms", n["long"])
    return code, (code / factor) @ atoms + offset


WIDER = torch.cat([N["long"], N["atoms"][:, :2]], 1)
ONE = {"k": K}
CASES = {
    **{
        f"saelens {kind}": (lambda p, a=kind: files.saelens(p, a), {}, {"activation": as_what})
        for kind, as_what in {
            "standard": "relu",
            "topk": "topk",
            "abstopk": "abstopk",
            "jumprelu": "jumprelu",
            "gated": "gated",
        }.items()
    },
    **{
        f"saelens {kind}": (
            lambda p, a=kind: files.saelens(p, a),
            {},
            {
                "activation": "jumprelu" if "jump" in kind else "relu",
                "subtract": False,
                "atoms": WIDER,
                "offset": torch.ones(D + 2),
            },
        )
        for kind in ARCHITECTURES
        if "transcoder" in kind
    },
    "saelens, nothing subtracted": (
        lambda p: files.saelens(p, "standard", {"apply_b_dec_to_input": False}),
        {},
        {"activation": "relu", "subtract": False},
    ),
    "saelens topk, rescaled": (
        lambda p: files.saelens(p, "topk", {"rescale_acts_by_decoder_norm": True}),
        {},
        {"activation": "topk", "factor": LENGTHS},
    ),
    "saelens abstopk, rescaled": (
        lambda p: files.saelens(p, "abstopk", {"rescale_acts_by_decoder_norm": True}),
        {},
        {"activation": "abstopk", "factor": LENGTHS},
    ),
    "saelens topk without k": (
        lambda p: files.saelens(p, "topk", drop=["k"]),
        ONE,
        {"activation": "topk"},
    ),
    "saelens before 6": (
        lambda p: files.saelens(
            p,
            "standard",
            {
                "activation_fn_str": "topk",
                "activation_fn_kwargs": {"k": K},
                "normalize_activations": False,
                "hook_point": "blocks.1",
            },
            drop=["architecture", "metadata", "apply_b_dec_to_input", "reshape_activations"],
        ),
        {},
        {"activation": "topk"},
    ),
    "saelens log_threshold": (
        lambda p: files.saelens(
            p, "jumprelu", tensors={"log_threshold": N["threshold"].log()}, drop=["threshold"]
        ),
        {},
        {"activation": "jumprelu"},
    ),
    "saelens finetuned": (
        lambda p: files.saelens(
            p,
            "standard",
            {"finetuning_scaling_factor": True},
            {"scaling_factor": N["threshold"]},
        ),
        {},
        {"activation": "relu", "atoms": N["long"] * N["threshold"][:, None]},
    ),
    "saelens, thresholds below 0": (
        lambda p: files.saelens(p, "jumprelu", tensors={"threshold": -ONES}),
        {},
        {"activation": "relu"},
    ),
    "saelens training state of batchtopk": (
        lambda p: files.saelens(
            p,
            "batchtopk",
            {"k": 2.5, "rescale_acts_by_decoder_norm": True},
            {"topk_threshold": torch.tensor(0.7).double()},
        ),
        {},
        {"activation": "jumprelu", "theta": 0.7, "factor": LENGTHS},
    ),
    "sparsify": (files.sparsify, {}, {"activation": "topk", "atoms": "atoms"}),
    "sparsify transcoder": (
        lambda p: files.sparsify(p, {"transcode": True}),
        {},
        {"activation": "topk", "atoms": "atoms", "subtract": False},
    ),
    "latentsae": (
        lambda p: files.sparsify(p, drop=["activation", "transcode", "skip_connection"]),
        {},
        {"activation": "topk", "atoms": "atoms"},
    ),
    **{
        f"dictionary_learning {kind}": (
            lambda p, a=kind: files.dictionary_learning(p, a),
            {},
            {"activation": as_what, "atoms": "atoms", **more},
        )
        for kind, as_what, more in (
            ("AutoEncoder", "relu", {}),
            ("AutoEncoderNew", "relu", {"subtract": False}),
            ("GatedAutoEncoder", "gated", {}),
            ("JumpReluAutoEncoder", "jumprelu", {"subtract": False}),
            ("AutoEncoderTopK", "topk", {}),
            ("BatchTopKSAE", "jumprelu", {"theta": 0.4}),
            ("MatryoshkaBatchTopKSAE", "jumprelu", {"theta": 0.4}),
        )
    },
    "dictionary_learning, atoms longer": (
        lambda p: files.dictionary_learning(
            p, "AutoEncoder", {"decoder.weight": N["long"].T.contiguous()}
        ),
        {},
        {"activation": "relu", "factor": LENGTHS},
    ),
    "dictionary_learning, no threshold yet": (
        lambda p: files.dictionary_learning(p, "BatchTopKSAE", {"threshold": torch.tensor(-1.0)}),
        {},
        {"activation": "relu", "atoms": "atoms"},
    ),
    **{
        f"overcomplete {kind}": (
            lambda p, a=kind: files.overcomplete(p.with_suffix(".pt"), a),
            given,
            {
                "activation": as_what,
                "atoms": N["atoms"] * torch.tensor(0.3).exp(),
                "subtract": False,
                "offset": torch.zeros(D),
            },
        )
        for kind, given, as_what in (
            ("linear", ONE, "topk"),
            ("plain", {"activation": "relu"}, "relu"),
            ("jump", {}, "jumprelu"),
        )
    },
    "overcomplete normed": (
        lambda p: files.overcomplete(p.with_suffix(".pt"), "normed"),
        ONE,
        {
            "activation": "topk",
            "atoms": N["atoms"] * torch.tensor(0.3).exp(),
            "subtract": False,
            "offset": torch.zeros(D),
            "norm": (N["magnitude"], (N["threshold"] + 1e-5).sqrt(), N["scale"].exp(), N["gate"]),
        },
    ),
    "overcomplete tied": (
        lambda p: files.overcomplete(p.with_suffix(".pt"), "tied"),
        {"activation": "relu"},
        {
            "activation": "relu",
            "encoder": N["atoms"] * torch.tensor(0.3).exp(),
            "atoms": N["atoms"] * torch.tensor(0.3).exp(),
            "subtract": False,
            "offset": torch.zeros(D),
        },
    ),
    "overcomplete, not normalised": (
        lambda p: files.overcomplete(
            p.with_suffix(".pt"), tensors={"dictionary._weights": N["long"]}
        ),
        ONE | {"normalization": "identity"},
        {
            "activation": "topk",
            "atoms": N["long"] * torch.tensor(0.3).exp(),
            "subtract": False,
            "offset": torch.zeros(D),
        },
    ),
    "openai relu": (lambda p: files.openai(p.with_suffix(".pt")), {}, {"activation": "relu"}),
    "openai topk": (
        lambda p: files.openai(p.with_suffix(".pt"), "TopK"),
        {"normalized": True},
        {"activation": "topk"},
    ),
    "gemma_scope": (
        lambda p: files.gemma_scope(p.with_suffix(".npz")),
        {},
        {"activation": "jumprelu", "subtract": False},
    ),
    **{
        f"saev {kind} {threshold}": (
            lambda p, a=kind, t=threshold: files.saev(p.with_suffix(".pt"), a, threshold=t),
            {},
            {"activation": as_what, "subtract": False, "atoms": "atoms", "shift": 2, "theta": 1.5},
        )
        for kind, threshold, as_what in (
            ("Relu", None, "relu"),
            ("TopK", None, "topk"),
            ("BatchTopK", None, "topk"),
            ("BatchTopK", 1.5, "jumprelu"),
        )
    },
}


@pytest.mark.parametrize("case", CASES)
def test_codes_and_reconstructions_are_those_of_the_format(case, tmp_path):
    make, given, formula = CASES[case]
    origin = opened(make(tmp_path / "theirs"), given)
    x = samples()
    wanted = oracle(x, **formula)
    assert (wanted[0] != 0).float().mean() > 0.05
    found = differences(ours(origin.trained), lambda x: wanted, x)
    assert found.small, found
    assert max(found.codes, found.recon) < 1e-6
    evaluated = differences(origin.foreign.evaluate, lambda x: wanted, x)
    assert max(evaluated.codes, evaluated.recon) < 1e-6
    assert evaluated.apart == 0


@pytest.mark.parametrize("case", CASES)
def test_a_model_becomes_a_run_and_an_estimator_with_the_same_numbers(case, tmp_path, capsys):
    make, given, _ = CASES[case]
    path = make(tmp_path / "theirs")
    found = convert(path, tmp_path / "run", given=given)
    assert all(one.small and one.active for one in found.compared.values())
    model = simplecell.load(path, **given)
    assert origin_words(path) in capsys.readouterr().err
    run = simplecell.load(tmp_path / "run")
    x = samples().numpy()
    assert np.array_equal(model.transform(x), run.transform(x))
    model.save(tmp_path / "saved")
    again = simplecell.load(tmp_path / "saved")
    assert np.array_equal(again.transform(x), run.transform(x))
    assert type(again) is type(model)
    assert model.get_params() == again.get_params()
    assert (
        load_file(tmp_path / "run/model.safetensors").keys()
        == load_file(tmp_path / "saved/model.safetensors").keys()
    )


def origin_words(path):
    return f"'{path}': "


def test_the_estimator_is_the_one_that_trains_such_codes(tmp_path):
    named = {
        "saelens standard": "L1SparseAutoencoder",
        "saelens topk": "TopKSparseAutoencoder",
        "saelens abstopk": "TopKSparseAutoencoder",
        "saelens jumprelu": "JumpReLUSparseAutoencoder",
        "saelens gated": "GatedSparseAutoencoder",
        "dictionary_learning BatchTopKSAE": "TopKSparseAutoencoder",
        "dictionary_learning MatryoshkaBatchTopKSAE": "MatryoshkaSparseAutoencoder",
    }
    for case, name in named.items():
        model = simplecell.load(CASES[case][0](tmp_path / case))
        assert type(model).__name__ == name
    assert tuple(model.widths) == (5, 20)
    assert model.target_l0 == K


def test_a_converted_model_is_trained_further(tmp_path):
    model = simplecell.load(files.sparsify(tmp_path / "theirs"))
    x = samples().float().numpy()
    before = model.score(x)
    for _ in range(200):
        model.partial_fit(x)
    assert model.score(x) > before + 0.1


def test_every_saelens_architecture_is_read_or_refused_by_name():
    registered = {"abstopk", "gated", "jumprelu", "jumprelu_skip_transcoder", "standard"}
    registered |= {"jumprelu_transcoder", "matching_pursuit", "skip_transcoder", "temporal"}
    registered |= {"topk", "transcoder", "batchtopk", "matryoshka_batchtopk"}
    assert registered == {*ARCHITECTURES, *REFUSED}


class Sneaky:
    def __reduce__(self):
        return (print, ("ran",))


def pickled(path):
    torch.save({"x": Sneaky()}, path)
    return path


def plain_pickle(path):
    path.write_bytes(pickle.dumps({"x": Sneaky()}))
    return path


def changed(path, name, tensor):
    """The folder with one tensor of its own."""
    return files.saelens(path, "standard", tensors={name: tensor})


REFUSALS = {
    "k is missing": (lambda p: files.saelens(p, "topk", drop=["k"]), {}, 2, "does not say k"),
    "k is missing before 6": (
        lambda p: files.saelens(
            p, "standard", {"activation_fn": "topk", "activation_fn_kwargs": {}}, drop=["metadata"]
        ),
        {},
        2,
        "does not say k",
    ),
    "k said otherwise": (lambda p: files.saelens(p, "topk"), {"k": 5}, 2, "says 3"),
    "k too large": (lambda p: files.saelens(p, "topk", {"k": M + 1}), {}, 4, "from 1 to 20"),
    "k where there is none": (lambda p: files.saelens(p, "gated"), ONE, 2, "leave it out"),
    "k of thresholds that differ": (lambda p: files.saelens(p, "jumprelu"), ONE, 2, "leave it out"),
    "unknown setting": (
        lambda p: files.saelens(p, "gated"),
        {"scal": 1},
        2,
        "did you mean 'scale'",
    ),
    "no tensor": (
        lambda p: files.saelens(p, "standard", drop=["b_enc"]),
        {},
        4,
        "no tensor 'b_enc'",
    ),
    "wrong shape": (
        lambda p: changed(p, "W_dec", torch.ones(M, D + 1)),
        {},
        4,
        r"'W_dec' has the shape \(20, 7\), and 20 × 6",
    ),
    "NaN": (lambda p: changed(p, "b_enc", ONES * float("nan")), {}, 4, "not finite"),
    "a tensor too many": (lambda p: changed(p, "W_more", ONES), {}, 4, "knows nothing of"),
    "unknown architecture": (
        lambda p: files.saelens(p, "standard", {"architecture": "jumprelux"}),
        {},
        4,
        "did you mean 'jumprelu'",
    ),
    **{
        f"refused {name}": (
            lambda p, a=name: files.saelens(p, "standard", {"architecture": a}),
            {},
            4,
            f"SAELens '{name}', which cannot be read",
        )
        for name in REFUSED
    },
    "another activation": (
        lambda p: files.saelens(p, "standard", {"activation_fn": "tanh-relu"}),
        {},
        4,
        "tanh-relu",
    ),
    "layer norm": (
        lambda p: files.saelens(p, "standard", {"normalize_activations": "layer_norm"}),
        {},
        2,
        "normalized=true",
    ),
    "scale not in the weights": (
        lambda p: files.saelens(p, "standard", {"normalize_activations": True}),
        {},
        2,
        "scale=S",
    ),
    "whitening": (
        lambda p: files.saelens(p, "standard", {"normalize_activations": "covariance_whitening"}),
        {},
        4,
        "whitening was folded",
    ),
    "skip connection": (
        lambda p: files.saelens(p, "skip_transcoder", tensors={"W_skip": torch.ones(D + 2, D)}),
        {},
        4,
        "W_skip",
    ),
    "scaling factor that nobody says": (
        lambda p: changed(p, "scaling_factor", 2 * ONES),
        {},
        4,
        "finetuning_scaling_factor",
    ),
    "broken JSON": (lambda p: broken(files.sparsify(p) / "cfg.json"), {}, 4, "cannot be read"),
    "broken safetensors": (
        lambda p: broken(files.sparsify(p) / "sae.safetensors"),
        {},
        4,
        "cannot be read",
    ),
    "groupmax": (lambda p: files.sparsify(p, {"activation": "groupmax"}), {}, 4, "groupmax"),
    "signed": (lambda p: files.sparsify(p, {"signed": True}), {}, 4, "both signs"),
    "another size": (lambda p: files.sparsify(p, {"num_latents": 21}), {}, 4, "num_latents = 21"),
    "sparsify skip": (
        lambda p: files.sparsify(p, tensors={"W_skip": torch.ones(D, D)}),
        {},
        4,
        "W_skip",
    ),
    "unknown dict_class": (
        lambda p: files.dictionary_learning(p, "IdentityDict"),
        {},
        4,
        "unknown dict_class",
    ),
    "pickle in ae.pt": (
        lambda p: pickled(files.dictionary_learning(p, "AutoEncoder") / "ae.pt").parent,
        {},
        4,
        "holds more than tensors",
    ),
    "group sizes": (
        lambda p: files.dictionary_learning(
            p, "MatryoshkaBatchTopKSAE", {"group_sizes": torch.tensor([5, 5])}
        ),
        {},
        4,
        "do not sum to 20",
    ),
    "a pickled module": (lambda p: pickled(p.with_suffix(".pt")), {}, 4, "state_dict"),
    "a plain pickle": (lambda p: plain_pickle(p.with_suffix(".pt")), {}, 4, "plain pickle"),
    "overcomplete of which class": (
        lambda p: files.overcomplete(p.with_suffix(".pt")),
        {},
        2,
        "activation=relu",
    ),
    "overcomplete without its threshold": (
        lambda p: files.overcomplete(p.with_suffix(".pt")),
        {"activation": "batchtopk", "k": K},
        2,
        "running_threshold",
    ),
    "overcomplete not normalised": (
        lambda p: files.overcomplete(
            p.with_suffix(".pt"), tensors={"dictionary._weights": N["long"]}
        ),
        ONE,
        2,
        "normalization=",
    ),
    "overcomplete, matching pursuit": (
        lambda p: files.overcomplete(p.with_suffix(".pt"), "matching pursuit"),
        ONE,
        4,
        "matching-pursuit model",
    ),
    "overcomplete, a LayerNorm": (
        lambda p: files.overcomplete(
            p.with_suffix(".pt"), tensors={"encoder.final_block.1.weight": ONES}
        ),
        ONE,
        4,
        "LayerNorm",
    ),
    "overcomplete with layers": (
        lambda p: files.overcomplete(
            p.with_suffix(".pt"), tensors={"encoder.mlp_blocks.0.0.weight": ONES}
        ),
        ONE,
        4,
        "several layers",
    ),
    "openai normalised": (
        lambda p: files.openai(p.with_suffix(".pt"), "TopK"),
        {},
        2,
        "normalized=true",
    ),
    "openai without ReLU": (
        lambda p: files.openai(
            p.with_suffix(".pt"),
            "TopK",
            {"activation_state_dict": {"k": K, "postact_fn": "Identity"}},
        ),
        {"normalized": True},
        4,
        "without a ReLU",
    ),
    "saev of another time": (
        lambda p: files.saev(p.with_suffix(".pt"), schema=6),
        {},
        4,
        "schema 6",
    ),
    "saev activation": (
        lambda p: files.saev(p.with_suffix(".pt"), "Gelu"),
        {},
        4,
        "'Gelu'",
    ),
    "nothing there": (lambda p: p, {}, 4, "is not a run directory"),
    "some folder": (lambda p: (p.mkdir(), p)[1], {}, 4, "is not a run directory"),
}


def broken(path):
    """The file with its middle gone; its folder."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 3])
    return path.parent


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_read_is_one_sentence_and_its_exit_code(case, tmp_path, capsys):
    make, given, code, sentence = REFUSALS[case]
    path = make(tmp_path / "theirs")
    with pytest.raises(UsageError if code == 2 else RunError, match=sentence):
        simplecell.load(path, **given)
    words = ["convert", str(path), str(tmp_path / "out")]
    if "k" in given:
        words += ["--k", str(given["k"])]
    for name, value in given.items():
        if name != "k":
            words += ["--set", f"{name}={str(value).lower()}"]
    capsys.readouterr()
    assert run_command_line(words) == code
    said = capsys.readouterr()
    assert re.search(sentence, said.err)
    assert said.err.startswith("simplecell: ")
    assert len(said.err.strip().splitlines()) == 1
    assert "ran" not in said.out
    assert not (tmp_path / "out").exists()


def test_codes_that_only_a_model_without_relu_has_are_no_conversion(tmp_path):
    path = files.saev(tmp_path / "theirs.pt", "TopK", top_k=M)  # so that negative ones are kept
    with pytest.raises(RunError, match="the model as read is not the same"):
        convert(path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


HAZARDS = {
    "one threshold": (
        {"threshold": ONES * 0.4},
        {},
        ["one value", "many times k"],
    ),
    "one threshold, from before 6.53": (
        {"threshold": ONES * 0.4},
        {"metadata": {"sae_lens_version": "6.20.1"}},
        ["one value", "#763"],
    ),
    "half precision": ({"W_enc": N["encoder"].T.bfloat16()}, {}, ["bfloat16"]),
    "heads": ({}, {"reshape_activations": "hook_z"}, ["heads × width"]),
    "scaled": ({}, {"normalize_activations": "expected_average_only_in"}, ["multiplied by 0.5"]),
}


@pytest.mark.parametrize("case", HAZARDS)
def test_hazards_are_told(case, tmp_path, capsys):
    tensors, config, wanted = HAZARDS[case]
    path = files.saelens(tmp_path / "theirs", "jumprelu", config, tensors)
    given = ["--set", "scale=0.5"] if case == "scaled" else []
    assert run_command_line(["convert", str(path), str(tmp_path / "run"), *given]) == 0
    said = capsys.readouterr().err
    assert all(word in said for word in wanted)
    told = json.loads((tmp_path / "run/run.json").read_text())["converted"]["told"]
    assert all(any(word in line for line in told) for word in wanted)


def test_a_scale_is_folded_in_as_saelens_folds_it(tmp_path):
    path = files.saelens(tmp_path / "theirs", "standard", {"normalize_activations": True})
    x = samples()
    found = ours(opened(path, {"scale": 0.5}).trained)(x)
    codes, recon = oracle(0.5 * x, "relu")
    assert torch.allclose(found[0], codes, atol=1e-5)
    assert torch.allclose(found[1], recon / 0.5, atol=1e-4)
    scaler = path / "activation_scaler.json"
    scaler.write_text('{"scaling_factor": 0.5}')
    assert torch.equal(ours(opened(path).trained)(x)[0], found[0])


def test_a_batchtopk_saved_by_saelens_gets_its_k_back(tmp_path):
    path = files.saelens(tmp_path / "theirs", "jumprelu", tensors={"threshold": ONES * 0.4})
    model = simplecell.load(path, k=K)
    assert model.model_.activation.kind == "batchtopk"
    assert (model.target_l0, model.batchwise) == (K, True)
    assert simplecell.load(path).model_.activation.kind == "jumprelu"


def fitted(kind, **more):
    """A small trained estimator over samples far from 0."""
    x = samples().float().numpy() + 20
    how = {"max_samples": 5000, "random_state": 0, **more}
    if kind == "topk transcoder":
        return simplecell.TopKSparseAutoencoder(M, k=K, **how).fit(x, targets=x * 2)
    if kind == "l1 transcoder":
        return simplecell.L1SparseAutoencoder(M, **how).fit(x, targets=x[:, :4] * 2)
    made = {
        "l1": lambda: simplecell.L1SparseAutoencoder(M, **how),
        "topk": lambda: simplecell.TopKSparseAutoencoder(M, k=K, **how),
        "abstopk": lambda: simplecell.TopKSparseAutoencoder(M, k=K, signed=True, **how),
        "batchtopk": lambda: simplecell.TopKSparseAutoencoder(M, k=K, batchwise=True, **how),
        "jumprelu": lambda: simplecell.JumpReLUSparseAutoencoder(M, target_l0=K, **how),
        "gated": lambda: simplecell.GatedSparseAutoencoder(M, target_l0=K, **how),
        "matryoshka": lambda: simplecell.MatryoshkaSparseAutoencoder(widths=(5, M), k=K, **how),
    }
    return made[kind]().fit(x)


OURS = ("l1", "topk", "abstopk", "batchtopk", "jumprelu", "gated", "matryoshka", "l1 transcoder")


@pytest.mark.parametrize("kind", OURS)
def test_what_saelens_is_given_says_the_same_as_the_run(kind, tmp_path):
    fitted(kind).save(tmp_path / "run")
    found = convert(tmp_path / "run", tmp_path / "theirs", "saelens")
    assert found.compared["written, random"].small
    x = samples() + 20
    back = opened(tmp_path / "theirs").trained
    mine = opened(tmp_path / "run").trained
    assert differences(ours(back), ours(mine), x).small
    config = json.loads((tmp_path / "theirs/cfg.json").read_text())
    assert config["apply_b_dec_to_input"] is ("transcoder" not in kind)
    assert config["metadata"]["sae_lens_version"].startswith("6.")
    assert any("folded into the weights" in line for line in found.lost)
    assert any("widths" in line for line in found.lost) is (kind == "matryoshka")


@pytest.mark.parametrize("steps", [None, ["standardize"], ["zca_whiten"], ["center", "pca"]])
@pytest.mark.parametrize("pre_bias", [True, False])
def test_any_affine_preparation_is_folded_exactly(steps, pre_bias, tmp_path):
    model = fitted("topk", preprocess=steps, settings={"model.pre_bias": pre_bias})
    model.save(tmp_path / "run")
    convert(tmp_path / "run", tmp_path / "theirs", "sparsify")
    found = differences(
        ours(opened(tmp_path / "theirs").trained),
        ours(opened(tmp_path / "run").trained),
        samples() + 20,
    )
    assert found.small, found


def test_gated_codes_with_a_center_of_their_own_are_folded_too(tmp_path):
    model = fitted("gated", settings={"model.pre_bias": False})
    model.save(tmp_path / "run")
    convert(tmp_path / "run", tmp_path / "theirs", "saelens")
    found = differences(
        ours(opened(tmp_path / "theirs").trained),
        ours(opened(tmp_path / "run").trained),
        samples() + 20,
    )
    assert found.small, found


ROUND = [name for name in CASES if name.startswith("saelens") and "," not in name]
ROUND = [name for name in ROUND if name.split(" ", 1)[1] in ARCHITECTURES and "skip" not in name]


@pytest.mark.parametrize("case", [*ROUND, "sparsify", "sparsify transcoder"])
def test_a_folder_that_was_read_is_written_again_bit_for_bit(case, tmp_path):
    path = CASES[case][0](tmp_path / "theirs")
    to = case.split()[0]
    convert(path, tmp_path / "run")
    convert(tmp_path / "run", tmp_path / "again", to)
    convert(path, tmp_path / "straight", to)
    weights = next(path.glob("*.safetensors")).name
    theirs, again = load_file(path / weights), load_file(tmp_path / "again" / weights)
    assert theirs.keys() == again.keys()
    for name in theirs:
        assert torch.equal(theirs[name], again[name]), name
    before, after = (json.loads((p / "cfg.json").read_text()) for p in (path, tmp_path / "again"))
    for key in before.keys() - {"metadata", "expansion_factor"}:
        assert before[key] == after[key]
    if to == "saelens":
        assert after["metadata"]["hook_name"] == "blocks.1"
    straight = (tmp_path / "straight" / weights).read_bytes()
    assert straight == (tmp_path / "again" / weights).read_bytes()


def test_what_a_format_cannot_hold_is_refused(tmp_path):
    x = samples().float().numpy()
    simplecell.CompressionAutoencoder(4, max_iter=2).fit(x).save(tmp_path / "sigmoid")
    with pytest.raises(UsageError, match="sigmoid codes"):
        convert(tmp_path / "sigmoid", tmp_path / "out", "saelens")
    fitted("jumprelu").save(tmp_path / "jump")
    with pytest.raises(UsageError, match="topk codes alone"):
        convert(tmp_path / "jump", tmp_path / "out", "sparsify")
    fitted("topk transcoder").save(tmp_path / "over")
    with pytest.raises(UsageError, match=r"no transcoder with topk codes.*sparsify has"):
        convert(tmp_path / "over", tmp_path / "out", "saelens")
    assert not (tmp_path / "out").exists()
    convert(tmp_path / "over", tmp_path / "out", "sparsify")
    fitted("l1 transcoder").save(tmp_path / "narrow")
    fitted("topk", preprocess=["remove_dc"]).save(tmp_path / "dc")
    with pytest.raises(UsageError, match="'remove_dc' looks at each sample"):
        convert(tmp_path / "dc", tmp_path / "out2", "saelens")
    with pytest.raises(UsageError, match="is a run already"):
        convert(tmp_path / "dc", tmp_path / "out2")
    with pytest.raises(UsageError, match="did you mean 'saelens'"):
        convert(tmp_path / "dc", tmp_path / "out2", "sae_lens")
    with pytest.raises(UsageError, match="says all of itself"):
        simplecell.load(tmp_path / "dc", k=3)


def test_a_converted_run_serves_every_verb_and_says_what_it_lacks(tmp_path, capsys):
    run, data = str(tmp_path / "run"), str(tmp_path / "x.npy")
    np.save(data, samples().float().numpy())
    path = str(files.saelens(tmp_path / "theirs", "jumprelu"))
    words = ["convert", path, run, "--check", data, "--json"]
    assert run_command_line(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["what"] for one in told["compared"]] == [
        "read, random",
        "read, given",
        "written, random",
        "written, given",
    ]
    assert all(one["codes"] < 1e-6 and one["active"] for one in told["compared"])
    assert run_command_line(["encode", run, data, "--out", str(tmp_path / "c.npy")]) == 0
    codes = np.load(tmp_path / "c.npy")
    assert np.allclose(codes, oracle(samples(), "jumprelu")[0], atol=1e-4)
    assert run_command_line(["decode", run, str(tmp_path / "c.npy"), "--out", data + ".npy"]) == 0
    assert run_command_line(["evaluate", run, data]) == 0
    assert run_command_line(["show", run]) == 0
    assert run_command_line(["compare", run, run]) == 0
    capsys.readouterr()
    assert run_command_line(["info", run]) == 0
    said = capsys.readouterr().out
    assert "converted: SAELens jumprelu" in said
    assert "not known; a sample has 6 inputs" in said
    site = str(tmp_path / "site")
    assert run_command_line(["explore", run, "--data", data, "--export", site]) == 0
    assert run_command_line(["report", run, "--data", data]) == 0
    capsys.readouterr()
    for words in (["resume", run], ["train", data, "--out", run]):
        assert run_command_line(words) == 4
        assert "was converted (SAELens jumprelu) and not trained here" in capsys.readouterr().err
    assert run_command_line(["show", run, "--what", "curve"]) == 3
    assert "(SAELens jumprelu) and not trained here, so that it" in capsys.readouterr().err
    assert run_command_line(["explore", run, "--export", str(tmp_path / "site2")]) == 3
    assert "what it was trained on is not known" in capsys.readouterr().err
    assert (
        run_command_line(["train", data, "--out", run, "--restart", "--set", "train.steps=5"]) == 0
    )
    assert "converted" not in json.loads((tmp_path / "run/run.json").read_text())


def test_nothing_is_replaced_unasked(tmp_path, capsys):
    path, out = files.sparsify(tmp_path / "theirs"), tmp_path / "out"
    words = ["convert", str(path), str(out), "--to", "saelens"]
    assert run_command_line(words) == 0
    assert run_command_line(words) == 4
    assert "--restart" in capsys.readouterr().err
    assert run_command_line([*words, "--restart"]) == 0
    (out / "mine.txt").write_text("x")
    assert run_command_line([*words, "--restart"]) == 4
    assert "it holds other files" in capsys.readouterr().err
    assert (out / "mine.txt").exists()


def test_metadata_that_dashboards_ask_for_is_said_when_writing(tmp_path):
    fitted("topk").save(tmp_path / "run")
    words = ["convert", str(tmp_path / "run"), str(tmp_path / "out"), "--to", "saelens"]
    words += ["--set", "hook_name=blocks.5.hook_resid_post", "--set", "model_name=gpt2"]
    assert run_command_line([*words, "--set", "prepend_bos=true"]) == 0
    metadata = json.loads((tmp_path / "out/cfg.json").read_text())["metadata"]
    assert metadata["hook_name"] == "blocks.5.hook_resid_post"
    assert (metadata["model_name"], metadata["prepend_bos"]) == ("gpt2", True)
    assert run_command_line([*words[:-2], "--set", "hook_nam=x", "--restart"]) == 2


def test_random_samples_activate_some_latents_and_never_all(tmp_path):
    for case in ("saelens standard", "saelens jumprelu", "sparsify", "gemma_scope"):
        trained = opened(CASES[case][0](tmp_path / case)).trained
        codes, _ = ours(trained)(random_samples(trained))
        share = (codes != 0).double().mean(1)
        assert 0 < share.mean() < 0.9
        assert len(set(share.tolist())) > 1 or case == "sparsify"


def test_the_chapter_has_the_table_of_formats():
    page = (Path(__file__).parents[1] / "docs" / "interop.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `(\w+)` \| (.+?) \| (.+?) \| (yes|–) \| (yes|–) \|$", page, re.MULTILINE
    )
    assert [(name, title) for name, title, *_ in rows] == [
        (row.name, row.title) for row in FORMATS.values() if row.name != "simplecell"
    ]
    for name, _, _, reads, writes in rows:
        assert (reads == "yes", writes == "yes") == (FORMATS[name].reads, FORMATS[name].writes)
    for name in (*ARCHITECTURES, *REFUSED):
        assert f"`{name}`" in page
    assert set(written()) >= {"simplecell", "saelens", "sparsify"}


def test_a_run_is_no_place_for_another_format(tmp_path):
    fitted("topk").save(tmp_path / "run")
    with pytest.raises(RunError, match="it holds other files"):
        convert(tmp_path / "run", tmp_path / "run", "saelens", restart=True)
    assert not (tmp_path / "run" / "cfg.json").exists()


ODD = [None, True, -1, 0, 1.5, 1e300, "x", [], [1], {}, {"a": 1}]


@pytest.mark.parametrize("case", ["saelens topk", "sparsify", "saelens jumprelu"])
def test_no_value_of_a_configuration_is_an_error_of_ours(case, tmp_path):
    path = CASES[case][0](tmp_path / "theirs")
    config = json.loads((path / "cfg.json").read_text())
    for key in [*config, "activation_fn", "activation_fn_kwargs", "k", "matryoshka_widths"]:
        for value in ODD:
            (path / "cfg.json").write_text(json.dumps({**config, key: value}))
            with contextlib.suppress(RunError, UsageError):
                opened(path)


@pytest.mark.parametrize(
    "case", ["saelens gated", "dictionary_learning BatchTopKSAE", "saev TopK None"]
)
def test_damaged_bytes_are_an_error_in_a_sentence(case, tmp_path):
    path = CASES[case][0](tmp_path / "theirs")
    rng = np.random.default_rng(0)
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        whole = file.read_bytes()
        for _ in range(20):
            content = bytearray(whole)
            for place in rng.integers(0, min(len(whole), 400), 3):
                content[place] = rng.integers(256)
            file.write_bytes(bytes(content))
            with contextlib.suppress(RunError, UsageError):
                opened(path)
        file.write_bytes(whole)


def test_a_model_of_another_library_is_explored_and_drawn_without_a_run(tmp_path):
    model = simplecell.load(files.saelens(tmp_path / "theirs", "topk"))
    x = samples().float().numpy()
    page = model.explore(x)
    page.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size > 10_000
    assert model.plot("atoms").size[0] > 10
    assert model.latents().shape == (M, D)


def test_a_transcoder_is_judged_by_targets_as_one_of_ours(tmp_path, capsys):
    run, x = str(tmp_path / "run"), samples().float()
    assert run_command_line(["convert", str(files.saelens(tmp_path / "t", "transcoder")), run]) == 0
    wanted = oracle(x.double(), "relu", False, atoms=WIDER, offset=torch.ones(D + 2))[1]
    np.save(tmp_path / "x.npy", x.numpy())
    np.save(tmp_path / "y.npy", wanted.float().numpy())
    words = ["evaluate", run, str(tmp_path / "x.npy"), "--targets", str(tmp_path / "y.npy")]
    capsys.readouterr()
    assert run_command_line([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fvu"] < 1e-9


def test_a_model_too_large_for_doubles_is_compared_in_floats(tmp_path, monkeypatch):
    from simplecell.interop import verify

    monkeypatch.setattr(verify, "MOST_DOUBLE", 100)
    np.save(tmp_path / "x.npy", samples().numpy())
    path = files.saelens(tmp_path / "theirs", "topk", {"rescale_acts_by_decoder_norm": True})
    found = convert(path, tmp_path / "out", "saelens", check=str(tmp_path / "x.npy"))
    assert all(1e-12 < one.codes < 1e-5 for what, one in found.compared.items() if "read" in what)


def test_weights_in_float64_stay_as_they_are(tmp_path):
    double = {"W_enc": N["encoder"].T, "b_enc": N["bias"], "W_dec": N["long"], "b_dec": N["offset"]}
    double = {name: tensor.double() / 3 for name, tensor in double.items()}
    path = files.saelens(tmp_path / "theirs", "standard", {"dtype": "float64"}, double)
    convert(path, tmp_path / "run")
    convert(tmp_path / "run", tmp_path / "again", "saelens")
    again = load_file(tmp_path / "again/sae_weights.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in double.items())
    assert json.loads((tmp_path / "again/cfg.json").read_text())["dtype"] == "float64"
    x = samples().numpy()
    codes = simplecell.load(tmp_path / "run").transform(x)
    assert codes.dtype == np.float64
    pre = (samples() - double["b_dec"]) @ double["W_enc"] + double["b_enc"]
    assert np.abs(codes - pre.clamp_min(0).numpy()).max() < 1e-14
