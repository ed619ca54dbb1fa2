"""Several processes train, encode and measure as one does; all hold the same bits."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rank_worker import SHARED, trained
from simplecell.data.planted import planted_dictionary
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
    alone = trained(name, path, dtype="float32")["flat"]
    assert float((first["flat"] - alone).abs().max() / alone.abs().max()) < 1e-4
