"""What a person reads while a training runs."""

from __future__ import annotations

import pytest
import torch

from simplecell.run import progress
from simplecell.run.progress import TrainingProgress
from simplecell.training.trainer import Record


def record(step, l0=None):
    terms = {"reconstruction": torch.tensor(2.0), "l0": torch.tensor(271.5)}
    return Record(step, torch.tensor(3.0), terms, torch.tensor([0.1, 0.3]), None, 0.1, l0)


@pytest.fixture
def told(monkeypatch, capsys):
    """The line about a record of a training of 1,000 steps."""
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)

    def line(one):
        with TrainingProgress(1000, weights={"reconstruction": 0.5}) as shown:
            shown.show(one)
        return capsys.readouterr().err

    return line


def test_l0_is_the_number_of_active_latents_and_not_its_cost(told):
    line = told(record(50, torch.tensor(31.5)))
    assert "cost 3  reconstruction 1  l0 31.5  mean activation 0.2000" in line
    assert "271" not in line
    assert "l0" not in told(record(50))


def test_the_time_left_is_told_once_there_is_a_pace(told):
    assert "s left" not in told(record(5))
    assert "step 50/1000" in told(record(50))
    assert "s left" in told(record(50))
