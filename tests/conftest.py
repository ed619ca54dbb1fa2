"""Two threads at most, for every test: the suite shares its machine."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("MPLBACKEND", "Agg")

import torch

torch.set_num_threads(min(2, torch.get_num_threads()))
