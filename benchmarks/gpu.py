"""A training step on a GPU: samples a second, and its share of the rate of the encoder's product.

    python benchmarks/gpu.py                    on the first CUDA device; on the CPU without one
    python benchmarks/gpu.py --sizes 768x12288x4096x32

Each side does its whole step: forward, backward, Adam, and the statistics that it keeps. Compared
are simplecell's trainer, a dense autoencoder of a few lines (autograd, fused Adam; no statistics,
no unit norm), and sparsify's `SparseCoder` with its Triton decoder where it is installed (with the
same fused Adam). `product` is the encoder's, `[B, D] x [D, M]`, alone; "x" is a multiple of it.
Then what TF32 costs: the error of the same training with and without it, and whether two trainings
from one seed end in the same bits.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from simplecell.model.autoencoder import Autoencoder
from simplecell.training.objective import Objective
from simplecell.training.trainer import Trainer
from simplecell.training.weights import initialise

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SIZES = "768x12288x4096x32,2048x32768x4096x64"
REPEATS, WARM_UP = 20, 5
AUXK = {"reconstruction": {"weight": 1.0}, "auxk": {"weight": 1 / 32}}


def variants(n_latents: int, k: int) -> dict[str, tuple[dict, dict, dict]]:
    """Model, terms and trainer of each: as the recipes have them."""
    widths = [n_latents // 16, n_latents // 8, n_latents // 4, n_latents // 2, n_latents]
    unit = {"unit_norm": True}
    return {
        "TopK": ({"activation": "topk", "k": k}, AUXK, unit),
        "BatchTopK": ({"activation": "batchtopk", "k": k}, AUXK, unit),
        "Matryoshka": (
            {"activation": "topk", "k": k},
            {"nested": {"weight": 1.0, "widths": widths}, "auxk": {"weight": 1 / 32}},
            unit,
        ),
        "JumpReLU": (
            {"activation": "jumprelu"},
            {"reconstruction": {"weight": 1.0}, "l0": {"weight": 1.0, "target": float(k)}},
            unit,
        ),
        "L1": (
            {"activation": "relu"},
            {"reconstruction": {"weight": 1.0}, "l1": {"weight": 0.1}},
            {},
        ),
    }


def trainer_of(
    n_inputs: int, n_latents: int, batch: int, made: tuple[dict, dict, dict], tf32: bool
) -> Trainer:
    model = Autoencoder(n_inputs, n_latents, output="linear", pre_bias=True, **made[0])
    initialise(model, 0, "transpose")
    model.to(DEVICE)
    settings = {"learning_rate": 1e-3, "batch_size": batch, "tf32": tf32} | made[2]
    return Trainer(model, Objective(made[1]), solver="adam", **settings)


def simplecell_step(trainer: Trainer) -> Callable[[Tensor], object]:
    def step(x: Tensor) -> object:
        found = trainer.step(x)
        trainer.n_steps += 1
        return found

    return step


def dense_step(n_inputs: int, n_latents: int, k: int) -> Callable[[Tensor], object]:
    """The textbook: every product dense."""
    encoder, decoder = nn.Linear(n_inputs, n_latents), nn.Linear(n_latents, n_inputs)
    both = nn.ModuleList([encoder, decoder]).to(DEVICE)
    adam = torch.optim.Adam(both.parameters(), lr=1e-4, fused=True)

    def step(x: Tensor) -> object:
        values, places = encoder(x - decoder.bias).topk(k, dim=1, sorted=False)
        code = x.new_zeros(len(x), n_latents).scatter(1, places, values.relu())
        loss = (decoder(code) - x).square().sum(1).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        return loss

    return step


def sparsify_step(n_inputs: int, n_latents: int, k: int) -> Callable[[Tensor], object] | None:
    """sparsify's model, as its trainer calls it; None where it is not installed."""
    try:
        from sparsify import SparseCoder, SparseCoderConfig
    except ImportError as error:
        print(f"sparsify is left out: {error}")
        return None
    coder = SparseCoder(n_inputs, SparseCoderConfig(num_latents=n_latents, k=k), device=DEVICE)
    adam = torch.optim.Adam(coder.parameters(), lr=1e-4, fused=True)

    def step(x: Tensor) -> object:
        adam.zero_grad()
        coder(x).fvu.backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        adam.step()
        coder.set_decoder_norm_to_unit_norm()
        return None

    return step


def seconds(step: Callable[[Tensor], object], batches: list[Tensor]) -> float:
    """Median seconds of a step."""
    for i in range(WARM_UP):
        step(batches[i % len(batches)])
    taken = []
    for i in range(REPEATS):
        synchronise()
        started = time.perf_counter()
        step(batches[i % len(batches)])
        synchronise()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def stream(step: Callable[[Tensor], object], batches: list[Tensor]) -> float:
    """Seconds of a step where nobody waits between steps: as training does."""
    synchronise()
    started = time.perf_counter()
    for i in range(REPEATS):
        step(batches[i % len(batches)])
    synchronise()
    return (time.perf_counter() - started) / REPEATS


def synchronise() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def waits(step: Callable[[Tensor], object], x: Tensor) -> str:
    """Whether a step makes the host wait for the device."""
    if DEVICE.type != "cuda":
        return "-"
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(x)
        return "no"
    except RuntimeError as error:
        return f"yes: {str(error).splitlines()[0][:60]}"
    finally:
        torch.cuda.set_sync_debug_mode("default")


def measure(size: str, precision: str) -> None:
    n_inputs, n_latents, batch, k = map(int, size.split("x"))
    torch.set_float32_matmul_precision(precision)
    generator = torch.Generator(DEVICE).manual_seed(0)
    batches = [torch.randn(batch, n_inputs, device=DEVICE, generator=generator) for _ in range(4)]
    encoder = torch.randn(n_latents, n_inputs, device=DEVICE, generator=generator)
    out = torch.empty(batch, n_latents, device=DEVICE)
    bound = seconds(lambda x: torch.mm(x, encoder.T, out=out), batches)
    rate = 2 * batch * n_inputs * n_latents / bound
    print(f"\n{size} (D x M x B x k), float32 products as '{precision}'")
    print(f"{'':24} {'ms':>9} {'x':>7} {'samples/s':>11} {'peak MB':>9}  waits")
    print(f"{'product':24} {1e3 * bound:9.3f} {1.0:7.2f}   ({rate / 1e12:.1f} TFLOP/s)")
    sides: dict[str, Callable[[], Callable[[Tensor], object] | None]] = {
        f"simplecell {name}": lambda made=made: simplecell_step(
            trainer_of(n_inputs, n_latents, batch, made, precision != "highest")
        )
        for name, made in variants(n_latents, k).items()
    }
    sides["dense, fused Adam"] = lambda: dense_step(n_inputs, n_latents, k)
    sides["sparsify (Triton)"] = lambda: sparsify_step(n_inputs, n_latents, k)
    for name, make in sides.items():
        if DEVICE.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        if (step := make()) is None:
            continue
        seconds(step, batches)
        taken = stream(step, batches)
        peak = torch.cuda.max_memory_allocated() / 1e6 if DEVICE.type == "cuda" else 0.0
        line = f"{name:24} {1e3 * taken:9.3f} {taken / bound:7.2f} {batch / taken:11,.0f}"
        print(f"{line} {peak:9,.0f}  {waits(step, batches[0])}", flush=True)
        del step


def quality(n_inputs: int = 256, n_latents: int = 2048, k: int = 16, steps: int = 1500) -> None:
    """The error on new samples of planted sparse data, with TF32 and without, twice each."""
    generator = torch.Generator(DEVICE).manual_seed(1)
    atoms = torch.randn(1024, n_inputs, device=DEVICE, generator=generator)
    atoms /= atoms.norm(dim=1, keepdim=True)

    def drawn(n: int) -> Tensor:
        active = torch.rand(n, 1024, device=DEVICE, generator=generator) < 12 / 1024
        sizes = torch.rand(n, 1024, device=DEVICE, generator=generator)
        noise = torch.randn(n, n_inputs, device=DEVICE, generator=generator)
        return (active * (0.5 + sizes)) @ atoms + 0.01 * noise

    batches, held = [drawn(2048) for _ in range(64)], drawn(8192)
    print(f"\nfvu on new samples of planted data, {n_inputs} x {n_latents}, k {k}, {steps} steps")
    for name in ("TopK", "BatchTopK", "JumpReLU"):
        for tf32 in (True, False):
            found = []
            for _ in range(2):
                made = variants(n_latents, k)[name]
                trainer = trainer_of(n_inputs, n_latents, 2048, made, tf32)
                for i in range(steps):
                    trainer.step(batches[i % 64], steps=steps)
                    trainer.n_steps += 1
                with torch.no_grad():
                    error = (trainer.model(held).recon - held).square().sum()
                left = error / (held - held.mean(0)).square().sum()
                found.append((float(left), trainer.flat.clone()))
            same = torch.equal(found[0][1], found[1][1])
            products = "TF32" if tf32 else "float32"
            print(
                f"{name:12} {products:8} fvu {found[0][0]:.5f}  same bits twice: {same}", flush=True
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", default=SIZES, help="D x M x B x k, several by commas")
    parser.add_argument("--precisions", default="highest,high", help="of float32 products")
    parser.add_argument("--fast", action="store_true", help="times alone")
    asked = parser.parse_args()
    card = torch.cuda.get_device_name() if DEVICE.type == "cuda" else platform.processor() or "CPU"
    print(f"{card}, torch {torch.__version__}, {datetime.date.today()}")
    for size in asked.sizes.split(","):
        for precision in asked.precisions.split(","):
            measure(size, precision)
    if not asked.fast:
        quality()


if __name__ == "__main__":
    main()
