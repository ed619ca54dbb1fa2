"""Rows that a network made of pictures, in a browser: the part of each, and where it lies."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import simplecell
from browser import go, serving
from simplecell.cli import run_command_line

pytest_plugins = ["browser_fixtures"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run over the places of a convolution; in each picture one square is bright."""
    root = tmp_path_factory.mktemp("pictures")
    for i in range(16):
        pixels = np.zeros((64, 96, 3), dtype=np.uint8)
        top, left = 16 * (i // 4), 16 + 16 * (i % 4)
        pixels[top : top + 16, left : left + 16] = 255
        (root / "photos").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(root / "photos" / f"{i}.png")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 16, 16), nn.ReLU()).eval()

    def middle(image):
        cut = np.array(image.crop((16, 0, 80, 64)))
        return torch.from_numpy(cut).permute(2, 0, 1) / 255

    acts, run = root / "acts", root / "run"
    simplecell.harvest(model, "1", root / "photos", acts, transform=middle)
    words = ["train", str(acts), "--out", str(run), "--recipe", "topk", "--no-doctor"]
    words += ["--set", "model.n_latents=4", "--set", "model.target_l0=1"]
    assert run_command_line([*words, "--set", "train.steps=60"]) == 0
    assert run_command_line(["explore", str(run), "--export", str(root / "site")]) == 0
    return run


def test_the_part_of_a_picture_is_shown_and_marked(run, page):
    expect = pytest.importorskip("playwright.sync_api").expect
    with serving(run) as site:
        go(page, site + "run/")
        expect(page.get_by_text("the parts of four pictures")).to_be_visible()
        lines = (run / "atlas" / "details.jsonl").read_text().splitlines()
        latent, details = next(
            (i, one) for i, line in enumerate(lines) if (one := json.loads(line))["top"]
        )
        place = details["top"][0]["sample"]["photo"]
        assert (place["height"], place["width"]) == (16, 16)
        go(page, site + f"run/latent/{latent}")
        first = page.locator(".sample").first
        close, whole = first.locator(".cutout"), first.locator(".photo")
        expect(close).to_be_visible()
        expect(whole.locator("img")).to_be_visible()
        told = f"{place['top']} pixels from the top and {place['left']} from the left"
        assert told in whole.get_attribute("aria-label")
        for shown in (close, whole):
            ring = shown.locator("rect.ring")
            numbers = [float(ring.get_attribute(name)) for name in ("x", "y", "width", "height")]
            assert numbers == [place["left"], place["top"], 16, 16]
        # The close-up is three times as wide as the part, which stands in its middle or at an edge.
        box, mark = close.bounding_box(), close.locator("rect.ring").bounding_box()
        assert mark["width"] == pytest.approx(box["width"] / 3, rel=0.1)
        assert box["x"] - 1 <= mark["x"] <= box["x"] + box["width"] - mark["width"] + 1
        whole.click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text(told)
        dialog.click()
        first.get_by_text("its numbers").click()
        expect(first.locator("table.columns")).to_be_visible()
