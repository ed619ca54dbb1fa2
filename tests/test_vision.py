"""Pictures through vision models: preparation, patches at their places, weights; and seen."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import simplecell
from simplecell.cli import run_command_line
from simplecell.data import as_source
from simplecell.data.photographs import Photographs, photographs_of
from simplecell.errors import DataError, UsageError
from simplecell.harvesting.frames import Frame, Ruler
from simplecell.harvesting.pictures import Pictures
from simplecell.harvesting.vision import _timm, _torchvision, hold_pictures, open_picture_model
from simplecell.harvesting.weights import read_weights
from simplecell.run.directory import Run

try:
    vision, timm = _torchvision(), _timm()
except UsageError as missing:
    vision = timm = None
    reason = str(missing)
else:
    reason = ""
needs_extra = pytest.mark.skipif(vision is None, reason=reason or "it is here")
TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}


def picture(place, size, colour):
    """A grey picture with one square of a colour whose corner is at `place` (top, left)."""
    pixels = np.full((size[1], size[0], 3), 128, dtype=np.uint8)
    top, left = place
    pixels[top : top + size[1] // 4, left : left + size[0] // 4] = colour
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight pictures of two classes and two sizes; a red square somewhere, or a blue one."""
    root = tmp_path_factory.mktemp("pictures")
    for i in range(8):
        kind, colour = (("red", (255, 0, 0)), ("blue", (0, 0, 255)))[i % 2]
        size = (64, 64) if i < 4 else (96, 64)
        place = (16 * (i % 3), 16 * (i // 3))
        (root / kind).mkdir(exist_ok=True)
        picture(place, size, colour).save(root / kind / f"{i}.png")
    return root


class Net(nn.Module):
    """Patches of 8 pixels, each by its mean colour and so on."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 6, 8, 8)
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)))


def to_tensor(image):
    """The middle square, 32 x 32, as torchvision's Resize, CenterCrop, ToTensor and Normalize."""
    side = min(image.size)
    left, top = ((full - side) // 2 for full in image.size)
    cut = image.crop((left, top, left + side, top + side)).resize((32, 32))
    return (torch.from_numpy(np.array(cut)).permute(2, 0, 1) / 255 - 0.4) / 0.25


def test_what_a_transform_keeps_of_a_picture_is_measured():
    ruler = Ruler(to_tensor)
    for size, told in (((96, 64), (0, 16, 64, 64)), ((40, 100), (30, 0, 40, 40))):
        frame = ruler.frame(size)
        np.testing.assert_allclose(frame, told, atol=0.6)
    box = Frame(0, 16, 64, 64).box((1, 3), (4, 4))
    assert box == {"top": 16, "left": 64, "height": 16, "width": 16}
    assert Frame(0, 0, 32, 32).box((1, 2), (14, 14))["left"] == 4.6
    whole = Ruler(lambda image: to_tensor(image.resize((50, 20))))  # squashed, then the middle
    np.testing.assert_allclose(whole.frame((100, 60)), (0, 30, 60, 40), atol=1.5)
    assert Ruler(lambda image: to_tensor(image).flip(2)).frame((64, 64)) is None  # a mirror
    assert Ruler(lambda image: to_tensor(image.rotate(45))).frame((64, 64)) is None
    assert ruler.frame((4, 64)) is None


def test_places_of_a_convolution_say_where_in_the_file_they_lie(folder, tmp_path):
    model = Net().eval()
    done = simplecell.harvest(model, "conv", folder, tmp_path / "acts", transform=to_tensor)
    assert (done.n_samples, done.n_rows["conv"]) == (8, 8 * 16)
    source = as_source(tmp_path / "acts")
    x, about = source.read(slice(None)), source.about(slice(None))
    for row in (5, 70, 127):
        record = about[row]
        image = Image.open(folder / record["file"]).convert("RGB")
        box = [record[key] for key in ("left", "top", "width", "height")]
        cut = image.crop((box[0], box[1], box[0] + box[2], box[1] + box[3])).resize((8, 8))
        given = (torch.from_numpy(np.array(cut)).permute(2, 0, 1) / 255 - 0.4) / 0.25
        with torch.no_grad():
            alone = model.conv(given[None]).flatten()
        np.testing.assert_allclose(x[row], alone.numpy(), atol=0.05)
    assert about[5].items() >= {"sample": 0, "y": 1, "x": 1, "label": "blue"}.items()
    assert about[0]["file"] == "blue/1.png"
    assert about[16 * 6]["left"] == 16  # a wide picture, of which the middle is seen
    for batch in simplecell.activations(model, "conv", folder, transform=to_tensor):
        for record, line in zip(batch.records, batch.records.lines(), strict=True):
            assert json.loads(line) == record
    shown = photographs_of(source).photograph("red/0.png")
    assert shown.size == (64, 64)


def test_a_harvest_of_pictures_goes_on_and_refuses_others(folder, tmp_path):
    model, out, whole = Net().eval(), tmp_path / "acts", tmp_path / "whole"
    told = {"transform": to_tensor, "batch_size": 2, "rows": 10}
    simplecell.harvest(model, "conv", folder, whole, **told)

    def dies(image, seen=[]):  # noqa: B006
        seen.append(image)
        if len(seen) > 12:
            raise KeyboardInterrupt
        return to_tensor(image)

    with pytest.raises(KeyboardInterrupt):
        simplecell.harvest(model, "conv", folder, out, **told | {"transform": dies})
    assert 0 < len(list(out.glob("shard-*.npy"))) < 13
    simplecell.harvest(model, "conv", folder, out, **told)
    files = {p.name: p.read_bytes() for p in whole.iterdir()}
    assert {p.name: p.read_bytes() for p in out.iterdir()} == files
    again = simplecell.harvest(model, "conv", folder, out, **told)
    assert again.written == 0
    darker = told | {"transform": lambda image: to_tensor(image) / 2}
    with pytest.raises(UsageError, match="shards of other data"):
        simplecell.harvest(model, "conv", folder, out, **darker)
    other = tmp_path / "pictures"
    other.mkdir()
    for path in folder.rglob("*.png"):
        (other / path.parent.name).mkdir(exist_ok=True)
        (other / path.parent.name / path.name).write_bytes(path.read_bytes())
    moved = simplecell.harvest(model, "conv", other, out, **told)  # the same pictures elsewhere
    assert moved.written == 0
    picture((0, 0), (64, 64), (9, 9, 9)).save(other / "red" / "0.png")
    with pytest.raises(UsageError, match="shards of other data"):
        simplecell.harvest(model, "conv", other, out, **told)


def test_a_broken_picture_is_left_out_and_told(folder, tmp_path):
    for i, path in enumerate(sorted(folder.rglob("*.png"))):
        (tmp_path / f"{i}.png").write_bytes(path.read_bytes()[: 60 if i in (2, 4, 5) else None])
    told = {"transform": to_tensor, "batch_size": 2}
    with np.errstate(all="raise"):
        batches = list(simplecell.activations(Net().eval(), "conv", tmp_path, **told))
    samples = [record["sample"] for batch in batches for record in batch.records][::16]
    assert samples == [0, 1, 3, 6, 7]  # a whole batch of them is broken
    files = [record["file"] for batch in batches for record in batch.records][::16]
    assert files == [f"{i}.png" for i in samples]
    done = simplecell.harvest(Net().eval(), "conv", tmp_path, tmp_path / "acts", **told)
    assert any("3 of 8 pictures cannot be read, and are left out: 2.png" in n for n in done.notes)
    assert done.n_samples == 5


def test_pictures_are_refused_where_they_cannot_be_given(folder, tmp_path):
    model = Net().eval()
    with pytest.raises(UsageError, match="say transform="):
        simplecell.activations(model, "conv", folder)
    with pytest.raises(UsageError, match=r"makes of \S+ a ndarray of shape"):
        simplecell.harvest(model, "conv", folder, tmp_path / "a", transform=np.array)
    with pytest.raises(UsageError, match="another tensor each time"):
        noise = {"transform": lambda image: to_tensor(image) + torch.rand(1)}
        simplecell.harvest(model, "conv", folder, tmp_path / "a", **noise)
    with pytest.raises(UsageError, match="a batch needs one shape"):
        sizes = {
            "transform": lambda image: torch.from_numpy(np.array(image)).permute(2, 0, 1) / 1.0
        }
        list(simplecell.activations(model, "conv", folder, **sizes))
    with pytest.raises(UsageError, match="transform is for pictures in files"):
        simplecell.activations(model, "conv", torch.rand(2, 3, 32, 32), transform=to_tensor)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="holds no pictures"):
        simplecell.activations(model, "conv", tmp_path / "t.csv", transform=to_tensor)
    with pytest.raises(UsageError, match="3 records came for 8 pictures"):
        simplecell.activations(model, "conv", folder, transform=to_tensor, records=[{}] * 3)
    with pytest.raises(UsageError, match="has the key 'top'"):
        records = [{"top": 1}] * 8
        told = {"transform": to_tensor, "records": records}
        list(simplecell.activations(model, "conv", folder, **told))
    mine = [{"who": i} for i in range(8)]
    (batch,) = simplecell.activations(model, "conv", folder, transform=to_tensor, records=mine)
    assert batch.records[16].items() >= {"who": 1, "file": "blue/3.png"}.items()


def test_photographs_stay_in_their_folder(folder, tmp_path):
    shown = Photographs(folder / "red")
    assert shown.photograph("0.png").size == (64, 64)
    assert shown.photograph("../blue/1.png") is None
    assert shown.photograph("gone.png") is None
    (folder.parent / "words.txt").write_text("no picture")
    assert Photographs(folder.parent).photograph("words.txt") is None
    assert hold_pictures(folder)
    assert not hold_pictures(folder.parent / "words.txt")


def vit(**told):
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", **TINY, **told).eval()


@needs_extra
def test_patch_tokens_of_a_vision_transformer_are_at_their_places(folder):
    model = vit(num_classes=3, reg_tokens=2)
    told = {"transform": to_tensor, "batch_size": 8}
    run = simplecell.activations(model, ["patch_embed", "blocks.1"], folder, **told)
    embedded, block = list(run)
    images = torch.stack(
        [to_tensor(Image.open(p).convert("RGB")) for p in sorted(folder.rglob("*.png"))]
    )
    with torch.no_grad():
        tokens = model.forward_intermediates(
            images, indices=[1], output_fmt="NLC", norm=False, intermediates_only=True
        )[0]
    torch.testing.assert_close(block.x.reshape(8, 16, 12), tokens)
    assert len(embedded.x) == 8 * 16
    # The last of four is 96 x 64, of which the middle is seen.
    place = {"sample": 3, "y": 2, "x": 1, "top": 32, "left": 32, "height": 16, "width": 16}
    assert block.records[3 * 16 + 9].items() >= place.items()
    assert any("(class, register 1, register 2) are left out" in note for note in run.notes)
    (every,) = simplecell.activations(model, "blocks.1", folder, positions="all", **told)
    assert len(every.x) == 8 * 19
    names = [every.records[i].get("special") for i in range(4)]
    assert names == ["class", "register 1", "register 2", None]
    assert every.records[3].items() >= {"y": 0, "x": 0, "top": 0}.items()
    assert "top" not in every.records[0]
    for record, line in zip(every.records, every.records.lines(), strict=True):
        assert json.loads(line) == record
    torch.testing.assert_close(every.x.reshape(8, 19, 12)[:, 3:], tokens)
    (first,) = simplecell.activations(model, "blocks.1", folder, positions="class", **told)
    torch.testing.assert_close(first.x, every.x.reshape(8, 19, 12)[:, 0])
    (mean,) = simplecell.activations(model, "blocks.1", folder, positions="mean", **told)
    torch.testing.assert_close(mean.x, tokens.mean(1))
    with pytest.raises(UsageError, match="no class token"):
        list(simplecell.activations(model, "patch_embed", folder, positions="class", **told))


@needs_extra
def test_torchvision_tells_its_tokens_and_channels_too(folder):
    torch.manual_seed(0)
    size = {"image_size": 32, "patch_size": 8, "num_layers": 1, "num_heads": 2}
    model = vision.models.VisionTransformer(**size, hidden_dim=12, mlp_dim=16).eval()
    layer = "encoder.layers.encoder_layer_0"
    (batch,) = simplecell.activations(model, layer, folder, transform=to_tensor)
    assert len(batch.x) == 8 * 16
    assert batch.records[17].items() >= {"sample": 1, "y": 0, "x": 1, "left": 16}.items()
    swin = vision.models.SwinTransformer(
        [4, 4], 12, [1, 1], [2, 2], [2, 2], stochastic_depth_prob=0.0, num_classes=2
    ).eval()
    (batch,) = simplecell.activations(swin, "features.1", folder, transform=to_tensor)
    assert batch.x.shape == (8 * 64, 12)  # [B, h, w, c], not 8 channels


@needs_extra
def test_a_model_of_timm_by_its_name_and_a_file_of_weights(folder, tmp_path, capsys):
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=5).eval()
    torch.save(model.state_dict(), tmp_path / "w.pt")
    opened = open_picture_model(f"test_resnet={tmp_path / 'w.pt'}")
    for name, tensor in model.state_dict().items():
        assert torch.equal(opened.module.state_dict()[name], tensor)
    assert not opened.module.training
    words = ["harvest", str(folder), "--model", f"test_resnet={tmp_path / 'w.pt'}", "--json"]
    assert run_command_line([*words, "--out", str(tmp_path / "whole")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["layers"][0]["n_rows"] == 8
    config = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**config, is_training=False)
    images = [Image.open(folder / f"red/{i}.png").convert("RGB") for i in (0,)]
    with torch.no_grad():
        features = model.forward_features(torch.stack(list(map(transform, images))))
        wanted = model.forward_head(features, pre_logits=True)
    source = as_source(tmp_path / "whole")
    about = source.about(slice(None))
    row = next(i for i, record in enumerate(about) if record["file"] == "red/0.png")
    np.testing.assert_allclose(source.read(slice(row, row + 1)), wanted.numpy(), atol=1e-5)
    assert {record["label"] for record in about} == {"red", "blue"}
    layers = [*words, "--layer", "layer1", "--out", str(tmp_path / "places"), "--dtype", "float16"]
    assert run_command_line(layers) == 0
    assert json.loads(capsys.readouterr().out)["n_samples"] == 8
    assert run_command_line([*layers, "--text", "title"]) == 2
    assert "these are pictures" in capsys.readouterr().err


@needs_extra
def test_weights_of_other_kinds_are_read_or_refused(folder, tmp_path):
    model = vision.models.get_model("squeezenet1_1", num_classes=2)
    with pytest.raises(UsageError, match="has no weights here, and nothing is downloaded unasked"):
        open_picture_model("resnet18")
    with pytest.raises(UsageError, match="say --download to fetch it"):
        open_picture_model("hf-hub:timm/resnet18")
    with pytest.raises(UsageError, match="did you mean"):
        open_picture_model("resnet81=x.pt")
    with pytest.raises(UsageError, match="library of vision models 'torchvison'"):
        open_picture_model("torchvison:resnet18=x.pt")
    with pytest.raises(DataError, match="does not exist"):
        open_picture_model(f"resnet18={tmp_path / 'x.pt'}")
    torch.save(model, tmp_path / "whole.pt")
    with pytest.raises(DataError, match="holds more than tensors"):
        open_picture_model(f"torchvision:squeezenet1_1={tmp_path / 'whole.pt'}")
    state = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}
    torch.save(state, tmp_path / "trained.pt", _use_new_zipfile_serialization=False)
    assert read_weights(tmp_path / "trained.pt").keys() == model.state_dict().keys()
    with pytest.raises(
        UsageError, match=r"weights of trained\.pt are not those of resnet18 \(conv1"
    ):
        open_picture_model(f"torchvision:resnet18={tmp_path / 'trained.pt'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"holds no config\.json"):
        open_picture_model(tmp_path / "empty")


@needs_extra
def test_downloading_is_asked_for_and_never_done_unasked(monkeypatch):
    asked, model = [], vit(num_classes=2)

    def create_model(name, pretrained=False, **told):
        asked.append((name, pretrained))
        return model

    monkeypatch.setattr(timm, "create_model", create_model)
    opened = open_picture_model("vit_tiny_patch16_224", download=True)
    open_picture_model("hf-hub:someone/model", download=True)
    assert asked == [("vit_tiny_patch16_224", True), ("hf-hub:someone/model", True)]
    assert opened.whole == "head:input"


@needs_extra
def test_a_folder_as_the_hub_keeps_it_trains_and_is_seen(folder, tmp_path, capsys):
    from safetensors.torch import save_file

    place = tmp_path / "model"
    place.mkdir()
    model = vit(num_classes=2)
    save_file(model.state_dict(), place / "model.safetensors")
    cfg = {"input_size": [3, 32, 32], "crop_pct": 1.0, "classifier": "head", "num_classes": 2}
    cfg |= {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}
    told = {"architecture": "vit_tiny_patch16_224", "num_classes": 2, "model_args": TINY}
    (place / "config.json").write_text(json.dumps(told | {"pretrained_cfg": cfg}))
    run = tmp_path / "run"
    words = ["train", str(folder), "--embed", str(place), "--layer", "blocks.0", "--no-doctor"]
    words += ["--recipe", "topk", "--set", "model.n_latents=16", "--set", "train.steps=20"]
    assert run_command_line([*words, "--out", str(run)]) == 0
    said = capsys.readouterr().err
    assert "128 rows of 12 inputs of 8 pictures" in said
    assert run_command_line([*words, "--out", str(run)]) == 0
    assert run_command_line(["explore", str(run), "--export", str(tmp_path / "site")]) == 0
    atlas = json.loads((run / "atlas" / "atlas.json").read_text())
    assert atlas["look"] == "row"
    assert {photo["name"] for photo in atlas["photos"]} <= {
        p.relative_to(folder).as_posix() for p in folder.rglob("*.png")
    }
    assert atlas["labels"] == {"name": "label", "values": ["blue", "red"]}
    assert atlas["sprites"]["tile"] == [80, 80]
    assert {word for tag in atlas["tags"] for word in tag.split(" · ")} <= {"", "red", "blue"}
    lines = (run / "atlas" / "details.jsonl").read_text().splitlines()
    examples = [one for line in lines for one in json.loads(line)["top"]]
    for one in examples:
        photo, about = one["sample"]["photo"], one["sample"]["about"]
        name = atlas["photos"][photo["photo"]]["name"]
        assert name == about["file"]
        assert [photo[k] for k in ("top", "left")] == [about[k] for k in ("top", "left")]
    # Of the tile of the first latent, a cell shows what its strongest example was cut from.
    sheet = np.asarray(Image.open(run / "atlas" / "sprites-0.png"))
    active = [json.loads(line) for line in lines if json.loads(line)["top"]]
    latent = active[0]["latent"]
    rows, columns = divmod(latent, atlas["sprites"]["per_row"])
    tile = sheet[80 * rows : 80 * rows + 80, 80 * columns : 80 * columns + 80]
    assert tile[:40, :40].std() > 0 or (tile[:40, :40] == 128).all()
    assert not (tile[:40, :40] == 235).all()


def test_pictures_that_are_gone_are_said_so(folder, tmp_path, capsys):
    copy = tmp_path / "pictures"
    copy.mkdir()
    for i, path in enumerate(sorted(folder.rglob("*.png"))):
        (copy / f"{i}.png").write_bytes(path.read_bytes())
    acts, run = tmp_path / "acts", tmp_path / "run"
    simplecell.harvest(Net().eval(), "conv", copy, acts, transform=to_tensor)
    words = ["train", str(acts), "--out", str(run), "--recipe", "topk", "--no-doctor"]
    assert run_command_line([*words, "--set", "model.n_latents=8", "--set", "train.steps=5"]) == 0
    for path in copy.glob("*.png"):
        path.unlink()
    assert run_command_line(["explore", str(run), "--export", str(tmp_path / "site")]) == 0
    atlas = json.loads((run / "atlas" / "atlas.json").read_text())
    assert atlas["photos"] == []
    told = json.loads((run / "atlas" / "data.json").read_text())["notes"]
    assert any("not where they were" in note for note in told)
    assert Run(run).load().info["data"]["path"] == str(acts)


def test_without_the_extra_it_is_named(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    words = ["harvest", str(folder), "--model", "resnet18=x.pt", "--out", str(tmp_path / "acts")]
    assert run_command_line(words) == 2
    assert "pip install 'simplecell[vision]'" in capsys.readouterr().err


def test_pictures_in_memory_are_given_as_well(folder):
    images = [Image.open(path) for path in sorted(folder.rglob("*.png"))]
    (batch,) = simplecell.activations(Net().eval(), "head:input", images, transform=to_tensor)
    (same,) = simplecell.activations(Net().eval(), "head:input", folder, transform=to_tensor)
    assert torch.equal(batch.x, same.x)
    assert Pictures(images, to_tensor, 4).root is None
