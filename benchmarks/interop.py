"""Other libraries' files against their own packages, both ways; prints docs/results/interop.md.

    python benchmarks/interop.py > docs/results/interop.md

Each package (sae-lens, dictionary-learning, eai-sparsify, overcomplete) runs in an environment of
its own, which is made where it is not there (`.venv-bench-*`, torch 2.13.0). It trains or fills a
small model of every kind that it can store, stores it with its own function, and gives codes and
reconstructions of 256 samples in float32; simplecell reads the files and gives its own. Then
simplecell trains a small model of every kind that the format can hold and writes it, and the
package loads that with its own loader. A difference is the largest over all numbers, relative to
the largest number.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

D, M, K, STEPS = 24, 96, 6, 40
PEERS = ("sae-lens", "dictionary-learning", "sparsify", "overcomplete")
FORMATS = {"sae-lens": "saelens", "sparsify": "sparsify"}
"""What is written for a peer to load."""
Model = tuple[Callable[[Any], Any], Callable[[Any], Any]]
"""Codes of samples, and reconstructions of samples."""


# In a peer's environment.


def samples(seed: int = 0) -> Any:
    import torch

    return 2 * torch.randn(256, D, generator=torch.Generator().manual_seed(seed)) + 0.5


def fill(model: Any) -> None:
    """Random numbers in every parameter that starts at 0, so that none can be left out unseen."""
    import torch

    for name, tensor in model.named_parameters():
        if "scale" in name or "threshold" in name:
            tensor.data = 0.1 + 0.4 * torch.rand_like(tensor)
        elif not tensor.any():
            tensor.data = 0.2 * torch.randn_like(tensor)


def sae_lens_models(folder: Path) -> dict[str, Model | str]:
    """Every architecture registered for use, and what its trainings leave."""
    from sae_lens.registry import SAE_CLASS_REGISTRY

    made: dict[str, Model | str] = {}
    for name, (kind, config) in sorted(SAE_CLASS_REGISTRY.items()):
        for label, more in variants(name).items():
            made[label] = stored(folder / label, kind, config, more)
    for name in ("standard", "topk", "jumprelu", "gated"):
        made[f"{name}, before 6.0"] = aged(folder / name, folder / f"{name}, before 6.0")
    for name in ("BatchTopK", "MatryoshkaBatchTopK", "TopK", "Standard", "Gated", "JumpReLU"):
        made |= trained_sae_lens(folder, name)
    return made


def variants(name: str) -> dict[str, dict[str, Any]]:
    """A configuration by label, of one architecture."""
    more: dict[str, Any] = {}
    if "transcoder" in name:
        more = {"apply_b_dec_to_input": False, "d_out": D + 4}
    if name in ("topk", "abstopk"):
        more = {"k": K}
    if name == "temporal":
        more = {"n_heads": 2, "bottleneck_factor": 2, "kval_topk": K}
    found = {name: more}
    if name in ("standard", "topk", "jumprelu", "gated"):
        found[f"{name}, nothing subtracted"] = more | {"apply_b_dec_to_input": False}
    if name == "topk":
        found["topk, rescaled by atom length"] = more | {"rescale_acts_by_decoder_norm": True}
    if name == "skip_transcoder":
        found["skip_transcoder, W_skip 0"] = more
    if name == "jumprelu":
        found["jumprelu, bfloat16"] = more | {"dtype": "bfloat16"}
    if name == "standard":
        scaled = {"normalize_activations": "expected_average_only_in"}
        found["standard, scaled by 0.5"] = more | scaled
        found["standard, layer_norm"] = more | {"normalize_activations": "layer_norm"}
    return found


def stored(path: Path, kind: Any, config: Any, more: dict[str, Any]) -> Model | str:
    import torch
    from sae_lens import SAE

    try:
        model = kind(config(d_in=D, d_sae=M, **more))
        fill(model)
        if path.name.endswith("W_skip 0"):
            model.W_skip.data = torch.zeros_like(model.W_skip)
        model.save_model(path)
        model = SAE.load_from_disk(path, dtype="float32")
        if path.name.endswith("scaled by 0.5"):
            model.fold_activation_norm_scaling_factor(0.5)
            path.with_name(f"{path.name}.given.json").write_text('{"scale": 0.5}')
    except Exception as error:
        return f"its own package does not store it: {error}"
    return model.encode, model


def aged(path: Path, old: Path) -> Model:
    """The same weights under a flat configuration, as versions before 6.0 wrote it."""
    from sae_lens import SAE

    config = json.loads((path / "cfg.json").read_text())
    config |= {"hook_point": "blocks.0.hook_resid_pre", "normalize_activations": False}
    config |= {"activation_fn_str": "relu"}
    if config["architecture"] == "topk":
        config |= {"architecture": "standard", "activation_fn_str": "topk"}
        config["activation_fn_kwargs"] = {"k": config["k"]}
    old.mkdir()
    flat = {k: v for k, v in config.items() if k not in ("metadata", "k", "reshape_activations")}
    (old / "cfg.json").write_text(json.dumps(flat))
    weights = "sae_weights.safetensors"
    (old / weights).write_bytes((path / weights).read_bytes())
    loaded = SAE.load_from_disk(old)
    return loaded.encode, loaded


def trained_sae_lens(folder: Path, name: str) -> dict[str, Model | str]:
    import sae_lens
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    more: dict[str, Any] = {"k": K} if "TopK" in name else {}
    if name.startswith("Matryoshka"):
        more["matryoshka_widths"] = [M // 4, M]
    config = getattr(sae_lens, f"{name}TrainingSAEConfig")(d_in=D, d_sae=M, **more)
    model = getattr(sae_lens, f"{name}TrainingSAE")(config)
    pace = SAETrainerConfig(
        total_training_samples=STEPS * 256, train_batch_size_samples=256, lr_end=1e-4, lr=1e-2
    )
    trainer = SAETrainer(pace, model, data_provider=iter(()))
    for step in range(STEPS):
        trainer._train_step(sae=model, sae_in=samples(step))
        trainer.n_training_steps += 1
    label = f"{name} trained"
    model.save_inference_model(folder / label)
    loaded = sae_lens.SAE.load_from_disk(folder / label)
    found: dict[str, Model | str] = {label: (loaded.encode, loaded)}
    if "Batch" in name:  # the state of its training too, which keeps k and widths
        model.save_model(folder / f"{label}, its state")
        found[f"{label}, its state"] = (loaded.encode, loaded)
    return found


def sae_lens_loaded(path: Path) -> Model:
    from sae_lens import SAE

    model = SAE.load_from_disk(path)
    return model.encode, model


def dictionary_learning_models(folder: Path) -> dict[str, Model | str]:
    """Each trainer's result, as `trainSAE` stores it."""
    from dictionary_learning.dictionary import AutoEncoderNew
    from dictionary_learning.trainers import gdm, jumprelu, p_anneal, standard
    from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer
    from dictionary_learning.trainers.top_k import TopKTrainer

    counted = {"k": K}
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "AutoEncoder": (standard.StandardTrainer, {}),
        "AutoEncoder, April update": (standard.StandardTrainerAprilUpdate, {}),
        "AutoEncoder, p-anneal": (p_anneal.PAnnealTrainer, {}),
        "GatedAutoEncoder": (gdm.GatedSAETrainer, {}),
        "JumpReluAutoEncoder": (jumprelu.JumpReluTrainer, {"target_l0": float(K)}),
        "AutoEncoderTopK": (TopKTrainer, counted),
        "BatchTopKSAE": (BatchTopKTrainer, counted | {"threshold_start_step": 5}),
        "MatryoshkaBatchTopKSAE": (
            MatryoshkaBatchTopKTrainer,
            counted | {"threshold_start_step": 5, "group_fractions": [0.25, 0.75]},
        ),
    }
    made: dict[str, Model | str] = {}
    for label, (trainer, more) in kinds.items():
        try:
            named = {"layer": 0, "lm_name": "none", "device": "cpu", "steps": 100_000, **more}
            one = trainer(activation_dim=D, dict_size=M, **named)
            for step in range(STEPS):
                one.update(step, samples(step))
            made[label] = put(folder / label, one.ae, dict(one.config))
        except Exception as error:
            made[label] = f"its own package does not train it here: {error}"
    model = AutoEncoderNew(D, M)
    fill(model)
    made["AutoEncoderNew"] = put(folder / "AutoEncoderNew", model, {"dict_class": "AutoEncoderNew"})
    return made


def put(path: Path, model: Any, config: dict[str, Any]) -> Model:
    import torch
    from dictionary_learning.utils import load_dictionary

    path.mkdir()
    if config["dict_class"] not in ("AutoEncoder", "AutoEncoderNew"):
        fill(model)
    torch.save({k: v.cpu() for k, v in model.state_dict().items()}, path / "ae.pt")
    text = json.dumps({"trainer": config, "buffer": {}}, default=str)
    (path / "config.json").write_text(text)
    loaded, _ = load_dictionary(str(path), "cpu")
    return loaded.encode, lambda x: loaded.decode(loaded.encode(x))


def sparsify_models(folder: Path) -> dict[str, Model | str]:
    import torch
    from sparsify import SparseCoder, SparseCoderConfig

    kinds: dict[str, dict[str, Any]] = {
        "topk": {},
        "topk, no num_latents": {"num_latents": 0, "expansion_factor": M // D},
        "transcode": {"transcode": True},
        "skip_connection": {"transcode": True, "skip_connection": True},
        "groupmax": {"activation": "groupmax"},
    }
    made: dict[str, Model | str] = {}
    for label, more in kinds.items():
        coder = SparseCoder(D, SparseCoderConfig(**{"num_latents": M, "k": K, **more}))
        fill(coder)
        adam = torch.optim.Adam(coder.parameters(), lr=1e-2)
        for step in range(STEPS):
            adam.zero_grad()
            coder(samples(step)).fvu.backward()
            adam.step()
        coder.save_to_disk(folder / label)
        made[label] = sparsify_loaded(folder / label)
    return made


def sparsify_loaded(path: Path) -> Model:
    import torch
    from sparsify import SparseCoder

    coder = SparseCoder.load_from_disk(path)

    def codes(x: Any) -> Any:
        found = coder.encode(x)
        return torch.zeros(len(x), coder.num_latents).scatter_(1, found.top_indices, found.top_acts)

    return codes, lambda x: coder(x).sae_out


def overcomplete_models(folder: Path) -> dict[str, Model | str]:
    """State dictionaries, which are all that can be read without unpickling."""
    import torch

    # Its picture models want torchvision, which PyPI makes for another torch, and its pictures a
    # matplotlib of before 3.9; no SAE of it wants either.
    for name in ("torchvision", "overcomplete.visualization"):
        sys.modules.setdefault(name, MagicMock(__spec__=None))
    from overcomplete.sae import SAE, BatchTopKSAE, JumpSAE, MpSAE, TopKSAE

    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "SAE": (SAE, {}),
        "SAE, tied": (SAE, {}),
        "SAE, untied": (SAE, {}),
        "SAE, its dictionary longer": (SAE, {"dictionary_params": {"use_multiplier": True}}),
        "SAE, max_l2": (SAE, {"dictionary_params": {"normalization": "max_l2"}}),
        "TopKSAE": (TopKSAE, {"top_k": K}),
        "BatchTopKSAE": (BatchTopKSAE, {"top_k": K * 256}),
        "JumpSAE": (JumpSAE, {}),
        "SAE, mlp_ln_1": (SAE, {"encoder_module": "mlp_ln_1"}),
        "SAE, mlp_bn_1": (SAE, {"encoder_module": "mlp_bn_1"}),
        "SAE, mlp_bn_3": (SAE, {"encoder_module": "mlp_bn_3"}),
        "MpSAE": (MpSAE, {"k": K}),
    }
    made: dict[str, Model | str] = {}
    for label, (kind, more) in kinds.items():
        model = kind(D, nb_concepts=M, **more)
        if label.endswith(", tied"):
            model = model.tied(bias=True)
        elif label.endswith("untied"):
            model = model.untied(bias=True)
        adam = torch.optim.Adam(model.parameters(), lr=1e-2)
        for step in range(STEPS):
            adam.zero_grad()
            found = model(samples(step))
            (found[2] - samples(step)).square().mean().backward()
            adam.step()
        model.eval()
        torch.save(model.state_dict(), folder / f"{label}.pt")
        said = {"SAE": {"activation": "relu"}, "TopKSAE": {"k": K}}.get(label.split(",")[0], {})
        if label == "BatchTopKSAE":
            level = float(model.running_threshold)
            said = {"activation": "batchtopk", "threshold": level, "k": K}
        (folder / f"{label}.given.json").write_text(json.dumps(said))
        made[label] = both_of(model)
    return made


def both_of(model: Any) -> Model:
    return lambda x: model(x)[1], lambda x: model(x)[2]


MAKERS = {
    "sae-lens": sae_lens_models,
    "dictionary-learning": dictionary_learning_models,
    "sparsify": sparsify_models,
    "overcomplete": overcomplete_models,
}
LOADERS = {"sae-lens": sae_lens_loaded, "sparsify": sparsify_loaded}


def work(act: str, peer: str, folder: Path) -> None:
    """In a peer's process: store models with their results, or load what simplecell wrote."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    told: dict[str, str | None] = {}
    models: dict[str, Model | str]
    if act == "store":
        models = MAKERS[peer](folder)
    else:
        models = {p.name: LOADERS[peer](p) for p in sorted(folder.iterdir()) if p.is_dir()}
    for label, model in models.items():
        told[label] = model if isinstance(model, str) else None
        if isinstance(model, str):
            continue
        x = samples(999) if act == "store" else torch.load(folder / f"{label}.x", weights_only=True)
        try:
            with torch.no_grad():
                found = {"x": x, "codes": model[0](x).detach(), "recon": model[1](x).detach()}
            torch.save(found, folder / f"{label}.numbers")
        except Exception as error:
            told[label] = f"its own package does not run it: {error}"
    (folder / "told.json").write_text(json.dumps(told))


# In simplecell's own.


def asked(python: str, act: str, peer: str, folder: Path) -> dict[str, str | None]:
    """Let a peer work; what it tells of each model."""
    words = [python, str(Path(__file__).resolve()), act, peer, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return json.loads((folder / "told.json").read_text())


def row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def read_theirs(peer: str, folder: Path, told: dict[str, str | None]) -> list[str]:
    """Lines of the table of what was read."""
    import torch

    from simplecell.errors import SimplecellError
    from simplecell.interop.conversion import opened
    from simplecell.interop.verify import differences, ours

    lines = []
    for label, wrong in told.items():
        path = folder / label if (folder / label).is_dir() else folder / f"{label}.pt"
        if not path.exists():
            lines.append(row(peer, label, "not there", "", "", wrong))
            continue
        said = folder / f"{label}.given.json"
        given = json.loads(said.read_text()) if said.exists() else {}
        try:
            trained = opened(path, given).trained
        except SimplecellError as error:
            reason = str(error).replace(str(folder) + "/", "")
            lines.append(row(peer, label, "refused", "", "", reason))
            continue
        if wrong is not None:
            lines.append(row(peer, label, "?", "", "", wrong))
            continue
        numbers = torch.load(folder / f"{label}.numbers", weights_only=True)
        theirs = numbers["codes"], numbers["recon"]
        found = differences(ours(trained), lambda x, t=theirs: t, numbers["x"])
        kind = trained.model.activation.kind
        note = f"{found.active / found.n_samples:.1f} active a sample"
        note += f", {found.apart} in one alone" if found.apart else ""
        lines.append(row(peer, label, kind, f"{found.codes:.0e}", f"{found.recon:.0e}", note))
    return lines


def own_models() -> dict[str, Any]:
    """A small trained model of every kind that other libraries may hold."""
    import torch

    import simplecell as sc

    torch.set_num_threads(1)
    x = samples(5).repeat(8, 1).numpy() + 3
    x += 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).numpy()
    short = {"max_samples": 20_000, "random_state": 0}
    made = {
        "L1": sc.L1SparseAutoencoder(M, **short),
        "TopK": sc.TopKSparseAutoencoder(M, k=K, **short),
        "BatchTopK": sc.TopKSparseAutoencoder(M, k=K, batchwise=True, **short),
        "JumpReLU": sc.JumpReLUSparseAutoencoder(M, target_l0=K, **short),
        "Gated": sc.GatedSparseAutoencoder(M, target_l0=K, **short),
        "Matryoshka": sc.MatryoshkaSparseAutoencoder(widths=(M // 4, M), k=K, **short),
        "TopK, ZCA whitening": sc.TopKSparseAutoencoder(M, k=K, preprocess=["zca_whiten"], **short),
        "L1, no preparation, nothing subtracted": sc.L1SparseAutoencoder(
            M, preprocess=None, settings={"model.pre_bias": False}, **short
        ),
    }
    fitted = {name: one.fit(x) for name, one in made.items()}
    y = x[:, :8] * 2 + 1
    for name, one in {
        "L1 transcoder": sc.L1SparseAutoencoder(M, **short),
        "JumpReLU transcoder": sc.JumpReLUSparseAutoencoder(M, target_l0=K, **short),
        "BatchTopK transcoder": sc.TopKSparseAutoencoder(M, k=K, batchwise=True, **short),
        "TopK transcoder": sc.TopKSparseAutoencoder(M, k=K, **short),
    }.items():
        fitted[name] = one.fit(x, targets=x + 1 if name == "TopK transcoder" else y)
    return {"x": torch.from_numpy(x[:256].copy()), "fitted": fitted}


def write_ours(peer: str, python: str, folder: Path, made: dict[str, Any]) -> list[str]:
    """Lines of the table of what the peer loaded."""
    import torch

    from simplecell.errors import SimplecellError
    from simplecell.interop.conversion import convert
    from simplecell.interop.verify import differences, ours
    from simplecell.run.directory import Run

    lines, x = [], made["x"]
    written = folder / "written"
    written.mkdir()
    for name, fitted in made["fitted"].items():
        run = folder / "runs" / name
        if not run.exists():
            run.parent.mkdir(exist_ok=True)
            fitted.save(run)
        try:
            convert(run, written / name, FORMATS[peer])
        except SimplecellError as error:
            lines.append(row(peer, name, "refused", "", "", error))
            continue
        torch.save(x, written / f"{name}.x")
    told = asked(python, "load", peer, written)
    for name, wrong in told.items():
        if wrong is not None:
            lines.append(row(peer, name, "failed", "", "", wrong))
            continue
        numbers = torch.load(written / f"{name}.numbers", weights_only=True)
        theirs = numbers["codes"], numbers["recon"]
        mine = ours(Run(folder / "runs" / name).load())
        found = differences(lambda x, t=theirs: t, mine, x)
        architecture = json.loads((written / name / "cfg.json").read_text())
        kind = architecture.get("architecture", architecture.get("activation"))
        note = f"{found.active / found.n_samples:.1f} active a sample"
        note += f", {found.apart} in one alone" if found.apart else ""
        lines.append(row(peer, name, kind, f"{found.codes:.0e}", f"{found.recon:.0e}", note))
    return lines


def main() -> None:
    if len(sys.argv) == 4:
        work(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
        return
    from steps import PEERS as REQUIREMENTS
    from steps import environment_of

    pythons = {}
    for peer in PEERS:
        try:
            pythons[peer] = environment_of(peer, REQUIREMENTS[peer])
        except RuntimeError as error:
            print(f"{peer}: left out: {error}", file=sys.stderr)
    versions = ", ".join(REQUIREMENTS[peer].replace("==", " ") for peer in pythons)
    with tempfile.TemporaryDirectory() as place:
        read, wrote = [], []
        made = own_models()
        for peer, python in pythons.items():
            folder = Path(place) / peer
            folder.mkdir()
            read += read_theirs(peer, folder, asked(python, "store", peer, folder))
            if peer in FORMATS:
                wrote += write_ours(peer, python, folder, made)
    print(PAGE.format(versions=versions, date=datetime.date.today(), d=D, m=M, k=K))
    print("## Theirs, read here\n")
    print(row("library", "model", "becomes", "codes", "reconstructions", ""))
    print("|---|---|---|---|---|---|")
    print("\n".join(read))
    print("\n## Ours, loaded there\n")
    print(row("library", "model", "as", "codes", "reconstructions", ""))
    print("|---|---|---|---|---|---|")
    print("\n".join(wrote))


PAGE = """# Other libraries' files, against their own packages

`python benchmarks/interop.py` made this page on {date}: {versions}, torch 2.13.0,
float32, {d} inputs, {m} latents, k = {k}, 256 samples. Each package stored its models with its own
function, and loaded ours with its own. Differences of codes and of reconstructions are the largest
over all numbers, relative to the largest number; latents active in one of the two alone are counted
apart.
[The chapter](../interop.md) says what is refused, and why.
"""


if __name__ == "__main__":
    main()
