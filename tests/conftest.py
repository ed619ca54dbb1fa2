"""One thread for every test: the problems are small, and the suite shares its machine.

Products are as reproducible as the command line makes them: without that, MKL's results follow the
alignment of memory on some processors (seen on an AMD EPYC), and no two trainings are alike.
"""

from __future__ import annotations

import os
import platform

import pytest

from simplecell.__main__ import reproducible_products

if platform.machine().lower() in ("x86_64", "amd64"):
    os.environ.setdefault("MKL_CBWR", reproducible_products())
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import torch

torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Who needs the mother of `children.py` comes first, so that one process starts her for all."""
    items.sort(key=lambda item: "children" not in item.fixturenames)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Halves of the suite, of which who is done first takes what the other has not begun.

    Neighbours share what is made once a file; xdist's own way would make it in every process.
    """
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


@pytest.fixture(scope="session")
def run_of(tmp_path_factory):
    """A finished run of a kind of `family_runs`, made when first asked for; it stays as it is."""
    from family_runs import made

    folder = tmp_path_factory.mktemp("family")
    return lambda kind: made(kind, folder)
