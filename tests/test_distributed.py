"""Several processes train, encode and measure as one does; all hold the same bits."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.sparse import load_npz

from rank_worker import SHARED, trained
from simplecell.cli import run_command_line
from simplecell.data.planted import planted_dictionary
from simplecell.distributed import Alone, Ranks
from simplecell.errors import DataError, UsageError
from simplecell.run.directory import Run
from simplecell.training.prepared import part_of
from test_family import WANTED, D


def together(*words, size=2):
    """Run a Python command as so many processes of one job; their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = {"WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = [
        subprocess.Popen(
            [sys.executable, *map(str, words)],
            env={**os.environ, **{k: str(v) for k, v in job.items()}, "RANK": str(rank)},
        )
        for rank in range(size)
    ]
    return [one.wait(timeout=300) for one in started]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "x.npy"
    np.save(path, planted_dictionary(1000, D, 32, WANTED).x)
    return path


@pytest.fixture(scope="module")
def shared(tmp_path_factory, path):
    """What each of two processes knows after they trained every row together."""
    out = tmp_path_factory.mktemp("ranks")
    worker = Path(__file__).with_name("rank_worker.py")
    assert together(worker, path, out) == [0, 0]
    return lambda name: [load_file(out / f"{name}.{rank}") for rank in range(2)]


def test_principal_components_are_made_by_one(path, tmp_path):
    code, out, err = Command("train", path, "--out", tmp_path / "run", "--recipe", "pca").wait()
    assert (code, out) == (2, "")
    assert "are made by one process" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", SHARED)
def test_two_processes_are_one(shared, path, name):
    first, second = shared(name)
    for tensor, value in first.items():
        assert torch.equal(value, second[tensor]), tensor
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = trained(name, path)
    torch.set_num_threads(threads)
    assert first.keys() == alone.keys()
    for tensor, value in alone.items():
        torch.testing.assert_close(first[tensor], value, rtol=1e-12, atol=1e-12, msg=tensor)


@pytest.mark.parametrize("name", ["batchtopk", "table"])
def test_in_single_precision_as_far_as_it_goes(shared, path, name):
    first, second = shared(f"{name} float32")
    assert torch.equal(first["flat"], second["flat"])
    alone = trained(name, path, dtype="float32")
    torch.testing.assert_close(first["costs"][:3], alone["costs"][:3], rtol=1e-6, atol=0)
    apart = (first["flat"] - alone["flat"]).abs().max() / alone["flat"].abs().max()
    print(f"{name}: weights apart by {float(apart):.1e} after 10 steps")
    assert float(apart) < 1e-4


class Second(Alone):
    """The second of three processes, without the others."""

    rank, size = 1, 3


def test_fewer_samples_than_processes_are_refused(path):
    from simplecell.data import as_source
    from simplecell.model.autoencoder import Autoencoder
    from simplecell.training.objective import Objective
    from simplecell.training.trainer import Trainer

    assert part_of(as_source(np.ones((10, 2))), Second()).n_samples == 3
    with pytest.raises(DataError, match="2 samples, and 3 processes need one each"):
        part_of(as_source(np.ones((2, 2))), Second())
    model = Autoencoder(4, 3)
    trainer = Trainer(model, Objective({"reconstruction": {}}), solver="adam", batch_size=2)
    with pytest.raises(UsageError, match="batch_size is 2, and 3 processes need a sample each"):
        trainer.join(Second())


def test_a_device_without_collectives_is_refused(monkeypatch):
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 0)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    Ranks().admit(torch.device("cpu"))
    with pytest.raises(UsageError, match="2 processes of this machine need a GPU each, and it has"):
        Ranks().admit(torch.device("cuda"))
    with pytest.raises(UsageError, match="the device is 'mps'"):
        Ranks().admit(torch.device("mps"))


ADAM = ["--recipe", "batchtopk", "--set", "model.n_latents=64", "--set", "model.target_l0=4"]
ADAM += ["--set", "train.max_samples=120000", "--no-doctor"]
FULL = ["--recipe", "table", "--set", "model.n_latents=40", "--set", "train.steps=120"]
FULL += ["--set", "optim.tolerance=0", "--no-doctor"]


class Command:
    """`simplecell … --processes 2`, running."""

    def __init__(self, *words):
        command = [sys.executable, "-m", "simplecell", *map(str, words), "--processes", "2"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, **pipes)

    def workers(self):
        """The numbers of its processes."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(word) for word in children.read_text().split()]

    def wait(self):
        """(exit code, standard output, standard error)."""
        out, err = self.process.communicate(timeout=300)
        return self.process.returncode, out, err


def weights(run):
    return (run / "model.safetensors").read_bytes()


def until(found, seconds=120):
    ends = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < ends
        time.sleep(0.01)


def has_checkpoint(out):
    return lambda: list((out / "checkpoints").glob("*.safetensors"))


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "many.npy"
    np.save(path, planted_dictionary(20_000, D, 32, WANTED).x)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory, many):
    out = tmp_path_factory.mktemp("whole") / "run"
    code, text, err = Command("train", many, "--out", out, *ADAM, "--json").wait()
    assert code == 0, err
    result = json.loads(text)  # of one process alone
    assert result["status"] == "finished"
    assert err.count("scale: values divided by") == 1
    assert json.loads((out / "run.json").read_text())["software"]["processes"] == 2
    return out


def killed(many, out, settings, seconds, worker):
    """Train, with one process killed some time after the first checkpoint; whether it was."""
    one = Command("train", many, "--out", out, *settings)
    until(has_checkpoint(out))
    time.sleep(seconds)
    workers = one.workers()
    if workers:
        os.kill(workers[worker % len(workers)], signal.SIGKILL)
    code, _, err = one.wait()
    assert code == 0, err
    assert "Traceback" not in err
    assert "another process" not in err
    return "a process was killed (SIGKILL); starting all again" in err


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux")


@needs_proc
def test_all_start_again_when_one_is_killed(many, whole, tmp_path):
    assert killed(many, tmp_path / "run", ADAM, 0.0, 1)
    assert weights(tmp_path / "run") == weights(whole)


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("settings", [ADAM, FULL], ids=["adam", "lbfgs"])
def test_killed_at_five_random_moments(many, tmp_path, settings):
    assert Command("train", many, "--out", tmp_path / "whole", *settings).wait()[0] == 0
    random = np.random.default_rng(0)
    found = []
    for i in range(5):
        out = tmp_path / str(i)
        found.append(killed(many, out, settings, random.uniform(0, 3), int(random.integers(2))))
        assert weights(out) == weights(tmp_path / "whole")
    assert any(found)


def two_networks():
    """Two network namespaces that see one another: [(what runs a command there, its cable)]."""
    ends = [("simplecell-a", "cable-a", "10.77.13.1"), ("simplecell-b", "cable-b", "10.77.13.2")]
    cable = f"link add cable-a netns {ends[0][0]} type veth peer name cable-b netns {ends[1][0]}"
    commands = [f"netns add {name}" for name, *_ in ends] + [cable]
    for name, link, address in ends:
        commands += [f"-n {name} addr add {address}/24 dev {link}"]
        commands += [f"-n {name} link set {one} up" for one in (link, "lo")]
    for command in commands:
        done = subprocess.run(["ip", *command.split()], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no network namespaces here: {done.stderr.strip()}")
    return [(["ip", "netns", "exec", name], link) for name, link, _ in ends]


@pytest.fixture
def networks():
    if shutil.which("ip") is None:
        pytest.skip("needs the command ip")
    try:
        yield two_networks()
    finally:
        for name in ("simplecell-a", "simplecell-b"):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.mark.slow
def test_over_two_networks(many, whole, networks, tmp_path):
    """torchrun on two machines that share nothing but the files ends in the bits of one machine."""
    nodes = []
    for rank, (inside, cable) in enumerate(networks):
        job = f"--nnodes 2 --nproc-per-node 1 --node-rank {rank} --master-addr 10.77.13.1"
        command = [*inside, sys.executable, "-m", "torch.distributed.run", *job.split()]
        command += ["--master-port", "29513", "-m", "simplecell", "train", str(many)]
        command += ["--out", str(tmp_path / "run"), *ADAM]
        env = {**os.environ, "GLOO_SOCKET_IFNAME": cable, "OMP_NUM_THREADS": "1"}
        nodes.append(subprocess.Popen(command, env=env))
    assert [node.wait(timeout=300) for node in nodes] == [0, 0]
    assert weights(tmp_path / "run") == weights(whole)


def test_encoded_and_measured_by_two_as_by_one(many, whole, tmp_path, capsys):
    assert Command("encode", whole, many, "--out", tmp_path / "two.npy").wait()[0] == 0
    assert (
        run_command_line(["encode", str(whole), str(many), "--out", str(tmp_path / "1.npy")]) == 0
    )
    assert (tmp_path / "two.npy").read_bytes() == (tmp_path / "1.npy").read_bytes()
    code, text, err = Command("evaluate", whole, many, "--json").wait()
    assert code == 0, err
    capsys.readouterr()
    assert run_command_line(["evaluate", str(whole), str(many), "--json"]) == 0
    two, one = json.loads(text), json.loads(capsys.readouterr().out)
    assert two.keys() == one.keys()
    for figure in ("fvu", "fvu_standardized", "fvu_median", "l0", "dead", "code_l1"):
        assert two[figure] == pytest.approx(one[figure], rel=1e-9), figure
    for figure in ("n_samples", "histogram"):
        assert two[figure] == one[figure]
    assert two["density"] == pytest.approx(one["density"], rel=1e-12)
    assert two["largest_rows"] == pytest.approx(one["largest_rows"], rel=1e-9)


def test_stopped_by_ctrl_c(many, tmp_path):
    one = Command("train", many, "--out", tmp_path / "run", *ADAM)
    until(has_checkpoint(tmp_path / "run"))
    one.process.send_signal(signal.SIGINT)
    code, _, err = one.wait()
    assert code == 130, err
    assert err.count("go on: simplecell resume") == 1
    info = Run(tmp_path / "run").info()
    assert info["status"] == "interrupted"
    assert info["n_iter"] > 0


def test_errors_are_said_once(many, tmp_path):
    wrong = ["--set", "model.n_latent=3"]
    code, out, err = Command("train", many, "--out", tmp_path / "run", *wrong).wait()
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "n_latents" in err
    assert Command("train", "-", "--out", tmp_path / "run").wait()[0] == 2


def torchrun(*words):
    """`torchrun … -m simplecell …`, with two processes: (exit code, standard output, error)."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "-m", "simplecell"]
    done = subprocess.run([*command, *map(str, words)], capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_under_torchrun(many, whole, tmp_path, capsys):
    """`resume`, `encode` and `evaluate` as with --processes."""
    steps = ["--set", "train.steps=20", "--set", "optim.schedule=constant"]
    words = ["--recipe", "batchtopk", "--set", "model.n_latents=64", *steps, "--no-doctor"]
    assert run_command_line(["train", str(many), "--out", str(tmp_path / "run"), *words]) == 0
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    code, text, err = torchrun("resume", tmp_path / "run", "--steps", 40, "--json")
    assert code == 0, err
    assert json.loads(text)["n_iter"] == 40
    assert Command("resume", tmp_path / "other", "--steps", 40).wait()[0] == 0
    assert weights(tmp_path / "run") == weights(tmp_path / "other")
    code, _, err = torchrun("encode", whole, many, "--out", tmp_path / "two.npz", "--sparse")
    assert code == 0, err
    alone = ["encode", str(whole), str(many), "--out", str(tmp_path / "one.npz"), "--sparse"]
    assert run_command_line(alone) == 0
    two, one = (load_npz(tmp_path / f"{name}.npz") for name in ("two", "one"))
    assert (two != one).nnz == 0
    assert two.shape == one.shape
    capsys.readouterr()
    code, text, err = torchrun("evaluate", whole, many, "--json")
    assert code == 0, err
    assert run_command_line(["evaluate", str(whole), str(many), "--json"]) == 0
    figures = json.loads(text), json.loads(capsys.readouterr().out)
    for name in ("fvu", "l0", "dead"):
        assert figures[0][name] == pytest.approx(figures[1][name], rel=1e-9), name


@pytest.mark.parametrize("suffix", [".npz", pytest.param(".parquet", marks=pytest.mark.slow)])
def test_sparse_codes_of_two_are_those_of_one(many, whole, tmp_path, suffix):
    two, one = (tmp_path / f"{name}{suffix}" for name in ("two", "one"))
    code, _, err = Command("encode", whole, many, "--out", two, "--sparse").wait()
    assert code == 0, err
    assert run_command_line(["encode", str(whole), str(many), "--out", str(one), "--sparse"]) == 0
    if suffix == ".npz":
        found = [load_npz(path) for path in (two, one)]
        assert (found[0] != found[1]).nnz == 0
        assert found[0].nnz > 0
        return
    tables = [pytest.importorskip("pyarrow.parquet").read_table(path) for path in (two, one)]
    assert tables[0].equals(tables[1])


def test_a_row_that_overflows_is_told_by_its_place_in_the_data(many, whole, tmp_path):
    x = np.load(many)
    x[15_001] = 3e38
    np.save(tmp_path / "x.npy", x)
    words = ["encode", whole, tmp_path / "x.npy", "--out", tmp_path / "c.npy"]
    code, _, err = Command(*words).wait()
    assert code == 3
    assert "sample 15001 holds numbers so large" in err
