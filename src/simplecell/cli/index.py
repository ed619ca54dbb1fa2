"""The verb that finds rows by their codes: index."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simplecell.cli.application import Json, Meta, apart, app, print_result, read
from simplecell.errors import UsageError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from simplecell.explain.index import Hits, Index

Asked = dict[str, Any]
"""A question and the rows that answer it, as `--json` prints them."""


@app.command()
def index(
    place: Annotated[
        Path, typer.Argument(metavar="RUN|F.npz", help="A run, to index DATA; or an index, to ask.")
    ],
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="Whose rows are listed, with --out.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="F.npz: where the index goes.")] = None,
    row: Annotated[
        list[int] | None, typer.Option(help="Rows nearest to that one; repeatable.")
    ] = None,
    latent: Annotated[
        list[str] | None,
        typer.Option(metavar="I[=X]", help="Rows where it fires most; several: nearest to all."),
    ] = None,
    query: Annotated[str | None, typer.Option(help="Rows nearest to new samples.")] = None,
    run: Annotated[
        Path | None, typer.Option(help="Of --query: the run, where it lies elsewhere by now.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Rows of an answer.")] = 10,
    meta: Meta = None,
    as_json: Json = False,
) -> None:
    """Find rows by their codes: in which a latent fires, and which are nearest to others."""
    import time

    started = time.perf_counter()
    if out is not None:
        if data is None or row or latent or query:
            raise UsageError(
                "--out makes an index of a run and DATA, and nothing else: simplecell index RUN "
                "DATA --out F.npz; then ask it: simplecell index F.npz --row 0"
            )
        result, text = _made(place, data, out, meta)
    else:
        result, text = _answered(place, data, row or [], latent or [], query, run, top)
    result["seconds"] = round(time.perf_counter() - started, 3)
    print_result("index", result, as_json, text)


def _made(run: Path, data: str, out: Path, meta: Path | None) -> tuple[dict[str, Any], str]:
    from simplecell.explain.index import Index, made_by
    from simplecell.run.build import new_data
    from simplecell.run.directory import Run
    from simplecell.run.progress import say, say_skipped
    from simplecell.run.storage import check_place

    if out.suffix.lower() != ".npz":
        raise UsageError(f"an index is an .npz, and '{out}' is none; give another --out")
    apart(out, data, meta)
    check_place(out)
    trained = Run(run).load()
    source = new_data(trained, read(data), meta)
    say(*source.notes)
    say_skipped(source.skipped)
    made = Index.of(trained, source, made_by(run))
    made.save(out)
    each = made.n_bytes / made.n_rows
    result = {
        "run": str(run),
        "out": str(out),
        "rows": made.n_rows,
        "latents": made.n_latents,
        "bytes_per_row": round(each, 1),
    }
    dense = 4 * trained.preprocess.n_inputs
    text = (
        f"{out}: {made.n_rows} rows by {made.n_latents} latents, {each:.0f} bytes a row "
        f"(the rows themselves in float32: {dense})"
    )
    return result, text


def _answered(
    place: Path,
    data: str | None,
    rows: Sequence[int],
    latents: Sequence[str],
    query: str | None,
    run: Path | None,
    top: int,
) -> tuple[dict[str, Any], str]:
    from simplecell.explain.index import Index

    if data is not None or sum(map(bool, (rows, latents, query))) != 1:
        raise UsageError(
            "what is asked? of an index give one of --row, --latent and --query; of a run and DATA "
            "--out makes an index"
        )
    opened = Index.open(place)
    top = min(top, opened.n_rows)
    if rows:
        codes, hits = opened.codes_of(rows), opened.nearest_to(rows, top)
        told = [{"row": row, "name": opened.name_of(row)} for row in rows]
        answers = list(_nearest(opened, codes, hits, told))
    elif latents:
        answers = [_of_latents(opened, dict(map(_weight, latents)), top)]
    else:
        assert query is not None
        codes = _codes(opened, query, run)
        told = [{"sample": i} for i in range(codes.shape[0])]
        answers = list(_nearest(opened, codes, opened.nearest(codes, top), told))
    return {"index": str(place), "answers": answers}, "\n\n".join(map(_text, answers))


def _weight(text: str) -> tuple[int, float]:
    """A latent and how strong it is wanted, of I or I=X."""
    number, _, weight = text.partition("=")
    try:
        wanted = int(number.removeprefix("latent")), float(weight or 1)
        if not math.isfinite(wanted[1]):
            raise ValueError
        return wanted
    except ValueError:
        raise UsageError(
            f"--latent {text!r} names no latent; give its number, such as 5, or 5=0.8"
        ) from None


def _codes(opened: Index, query: str, run: Path | None) -> csr_array:
    """The codes of new samples, by the run that the index was made of."""
    from scipy.sparse import csr_array

    from simplecell.explain.index import run_of
    from simplecell.run.build import new_data
    from simplecell.run.encoding import sparse_pieces
    from simplecell.run.progress import say

    trained = run_of(opened, run).load()
    source = new_data(trained, read(query))
    say(*source.notes)
    from scipy.sparse import vstack

    width = trained.model.n_latents
    parts = [
        csr_array(tuple(part.numpy() for part in piece), shape=(len(piece.offsets) - 1, width))
        for piece in sparse_pieces(trained, source, as_trained=True)
    ]
    return vstack(parts, format="csr")


def _of_latents(opened: Index, weights: dict[int, float], top: int) -> Asked:
    """The answer to one latent by its strength, to several by the cosine with all of them."""
    if len(weights) == 1:
        hits = opened.rows_of(next(iter(weights)), top)
        found = zip(hits.rows.tolist(), hits.values.tolist(), strict=True)
        rows = [{"row": row, "name": opened.name_of(row), "code": code} for row, code in found]
        return {"latents": list(weights), "rows": rows}
    code = opened.weighed(weights)
    (answer,) = _nearest(opened, code, opened.nearest(code, top), [{"latents": list(weights)}])
    return answer


def _nearest(opened: Index, codes: csr_array, hits: Hits, told: Sequence[Asked]) -> Iterator[Asked]:
    for i, question in enumerate(told):
        found = zip(hits.rows[i].tolist(), hits.values[i].tolist(), strict=True)
        yield question | {
            "rows": [
                {
                    "row": row,
                    "name": opened.name_of(row),
                    "cosine": cosine,
                    "shared": opened.shared(codes[[i]], row),
                }
                for row, cosine in found
                if row >= 0
            ]
        }


def _text(answer: Asked) -> str:
    """An answer for a terminal."""
    if "latents" in answer:
        head = "latents " + ", ".join(map(str, answer["latents"]))
    elif "sample" in answer:
        head = f"sample {answer['sample']}"
    else:
        head = f"row {answer['row']}" + _called(answer)
    lines = [head]
    for one in answer["rows"]:
        value = one["code"] if "code" in one else one["cosine"]
        by = f"  by latents {', '.join(map(str, one['shared']))}" if "shared" in one else ""
        lines.append(f"  {value:>8.4f}  row {one['row']}{_called(one)}{by}")
    return "\n".join(lines if answer["rows"] else [*lines, "  no row shares a latent with it"])


def _called(one: Asked) -> str:
    return "" if one["name"] == f"row {one['row']}" else f"  {one['name']}"
