"""The tables of docs/explain.md, made of the official files: wine quality, NSL-KDD, Reuters.

    python benchmarks/answers.py FOLDER --out TABLES

FOLDER has winequality-white.csv, KDDTrain+_20Percent.txt.gz and kdd_field_names.csv below
`tabular/`, reuters21578.jsonl.gz (a text a line: id, title) below `text/`, and reuters_lsa128.npz
(emb [n, 128], newid, topics joined by "|") below `embeddings/`. What is chosen of them follows from
seed 0: the commands of the chapter, run in TABLES, then give its figures
(`tests/test_explain_chapter.py`).
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd

WINE = (
    *("fixed acidity", "volatile acidity", "citric acid", "residual sugar", "chlorides"),
    *("free sulfur dioxide", "total sulfur dioxide", "density", "pH", "sulphates", "alcohol"),
    "quality",
)
"""The headings of UCI's file, which copies without a heading lack."""
CONNECTIONS, LEARNED, TOGETHER, AFTERWARDS, TEXTS = 5000, 5000, 6000, 3000, 6000
"""Rows: asked for their kind; learned from, without two kinds, and met afterwards; texts."""
SCANS, SWEEPS = ("satan", "teardrop"), ("teardrop", "portsweep")
"""The kinds that a training has not seen, of the two examples."""


def wine(folder: Path, out: Path) -> None:
    """wine.csv: eleven measurements and the quality."""
    path = folder / "tabular" / "winequality-white.csv"
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    headed, apart = "quality" in first, ";" if ";" in first else ","
    table = pd.read_csv(path, sep=apart, header=0 if headed else None)
    table.columns = pd.Index(WINE)
    table.to_csv(out / "wine.csv", index=False)


def connections(folder: Path, out: Path) -> None:
    """The tables of NSL-KDD: connections.csv, usual.csv and mixed.csv, known.csv and new.csv."""
    names = (folder / "tabular" / "kdd_field_names.csv").read_text(encoding="utf-8").split()
    table = pd.read_csv(folder / "tabular" / "KDDTrain+_20Percent.txt.gz", header=None)
    attack = table[41]
    table = table.iloc[:, :41].set_axis([name.partition(",")[0] for name in names][:41], axis=1)

    def shuffled(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.iloc[np.random.default_rng(0).permutation(len(rows))]

    kind = attack.where(attack == "normal", "attack")
    shuffled(table.assign(kind=kind))[:CONNECTIONS].to_csv(out / "connections.csv", index=False)
    every = shuffled(table.assign(attack=attack))
    usual = every[~every.attack.isin(SCANS)]
    usual[:TOGETHER].to_csv(out / "usual.csv", index=False)
    every.drop(usual.index[:TOGETHER])[:TOGETHER].to_csv(out / "mixed.csv", index=False)
    unseen = attack.isin(SWEEPS)
    known = shuffled(table.assign(kind=attack)[~unseen])
    known[:LEARNED].to_csv(out / "known.csv", index=False)
    later = known[LEARNED : LEARNED + AFTERWARDS]
    new = shuffled(pd.concat([later, table.assign(kind=attack)[unseen]]))
    new.to_csv(out / "new.csv", index=False)


def reuters(folder: Path, out: Path) -> None:
    """reuters.npy and reuters.jsonl: the first texts that have topics, with their titles."""
    with gzip.open(folder / "text" / "reuters21578.jsonl.gz", "rt", encoding="utf-8") as file:
        titles = {text["id"]: text["title"] for text in map(json.loads, file)}
    with np.load(folder / "embeddings" / "reuters_lsa128.npz") as arrays:
        chosen = np.flatnonzero(arrays["topics"] != "")[:TEXTS]
        np.save(out / "reuters.npy", arrays["emb"][chosen].astype(np.float32))
        told = zip(arrays["newid"][chosen].tolist(), arrays["topics"][chosen], strict=True)
        with open(out / "reuters.jsonl", "w", encoding="utf-8") as file:
            for newid, topics in told:
                line = {"title": titles.get(newid, ""), "topics": str(topics).split("|")}
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path())
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for make in (wine, connections, reuters):
        make(arguments.folder, arguments.out)
