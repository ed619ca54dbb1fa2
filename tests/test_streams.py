"""`encode RUN - --out -`: rows through a pipe, codes out before the input ends."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import os
import time
import tracemalloc

import numpy as np
import pytest

from family_runs import ACTIVE, D, M, samples
from simplecell import SparseAutoencoder
from simplecell.cli.decoding import decode_stream
from simplecell.cli.streams import encode_stream
from simplecell.errors import DataError, UsageError

pytest_plugins = ["children"]


@pytest.fixture(scope="module")
def trained(run_of):
    return run_of("topk").load()


@pytest.fixture
def pipe(run_of, children, tmp_path):
    return Pipe(children, run_of("topk"), tmp_path)


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def answer(trained, content, **how):
    out = io.BytesIO()
    encode_stream(trained, io.BytesIO(content), out, **how)
    return out.getvalue()


def lines(content):
    return [json.loads(line) for line in content.decode().removesuffix("\n").split("\n")]


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


class Pipe:
    """`simplecell encode RUN - --out -` in a process of its own, spoken to line by line."""

    def __init__(self, children, run, folder):
        into, out = folder / "into", folder / "out"
        os.mkfifo(into)
        os.mkfifo(out)
        before = f"os.dup2(os.open({str(into)!r}, os.O_RDONLY), 0)"
        words = ("encode", run.path, "-", "--out", "-")
        self.child = children.start(*words, cwd=folder, before=before, stdout=out)
        self.out = open(out, "rb", buffering=0)  # noqa: SIM115
        self.into = open(into, "wb", buffering=0)  # noqa: SIM115

    def send(self, content):
        self.into.write(content)

    def line(self):
        return b"".join(iter(lambda: self.exactly(1), b"\n"))

    def exactly(self, n):
        found = b""
        while len(found) < n:
            part = self.out.read(n - len(found))
            assert part, self.child.stderr.read_text()
            found += part
        return found

    def end(self):
        """What is left of its output, what it said, and its exit code."""
        self.into.close()
        with self.out:
            rest = self.out.read()
        code, _, said = self.child.wait()
        return rest, said, code


def test_codes_of_a_json_line_come_before_the_next_is_sent(pipe, trained):
    x = samples(3, seed=5)
    for i, row in enumerate(x):
        pipe.send(json.dumps({"id": f"α{i}", "embedding": row.tolist()}).encode() + b"\n")
        found = json.loads(pipe.line())
        assert found["id"] == f"α{i}"
        close(found["codes"], trained.encode(row[None])[0])
    rest, said, code = pipe.end()
    assert (rest, code) == (b"", 0)
    assert f"3 rows of {M} latents: -" in said


def test_codes_of_a_csv_line_come_before_the_next_is_sent(pipe, trained):
    x = samples(3, seed=5)
    pipe.send(",".join(map(str, x[0])).encode() + b"\n")
    assert pipe.line().decode().split(",")[:2] == ["latent0", "latent1"]
    close(np.array(pipe.line().split(b","), float), trained.encode(x[:1])[0])
    pipe.send(",".join(map(str, x[1])).encode() + b"\n")
    close(np.array(pipe.line().split(b","), float), trained.encode(x[1:2])[0])
    assert pipe.end()[2] == 0


def test_codes_of_npy_rows_come_before_the_others_are_sent(pipe, trained):
    x = samples(5, seed=5)
    content = npy(x)
    start = len(content) - x.nbytes
    pipe.send(content[: start + 2 * D * 4 + 7])  # two rows and a part of the third
    header = pipe.exactly(128)
    assert b"(5, 30)" in header
    first = np.frombuffer(pipe.exactly(2 * M * 4), "<f4").reshape(2, M)
    close(first, trained.encode(x[:2]))
    pipe.send(content[start + 2 * D * 4 + 7 :])
    rest, _, code = pipe.end()
    whole = np.load(io.BytesIO(header + first.tobytes() + rest))
    close(whole, trained.encode(x))
    assert code == 0


def test_a_stream_that_is_cut_off_is_told_of(pipe):
    pipe.send(npy(samples(5))[:-3])
    _, said, code = pipe.end()
    assert code == 3
    assert "cut off: its header promises 5 rows, and 4 came whole" in said


def test_the_answer_to_rows_cut_off_is_refused_by_numpy(trained):
    """docs/serving.md says so: its header promises as many rows as the question did."""
    out = io.BytesIO()
    with pytest.raises(DataError, match="cut off"):
        encode_stream(trained, io.BytesIO(npy(samples(5))[:-3]), out)
    assert len(out.getvalue()) == 128 + 4 * M * 4
    with pytest.raises(ValueError, match=f"expected {5 * M * 4} bytes|reshape"):
        np.load(io.BytesIO(out.getvalue()))


def test_a_row_of_another_width_is_told_of(pipe):
    pipe.send(b'{"embedding": [1, 2]}\n')
    rest, said, code = pipe.end()
    assert (rest, code) == (b"", 3)
    assert "standard input has 2 inputs a row, but this run was trained on 12" in said


def test_a_reader_that_leaves_is_no_error(pipe):
    row = json.dumps(samples(1)[0].tolist()).encode() + b"\n"
    pipe.send(row)
    pipe.line()
    pipe.out.close()
    with contextlib.suppress(BrokenPipeError):
        for _ in range(3):
            pipe.send(row)
    pipe.into.close()
    code, _, said = pipe.child.wait()
    assert code == 0
    assert "Traceback" not in said


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2"])
def test_npy_of_any_type_and_order(trained, dtype):
    x = samples(40, seed=6).astype(dtype)
    for array in (x, np.asfortranarray(x)):
        found = np.load(io.BytesIO(answer(trained, npy(array))))
        assert found.dtype == np.float32
        close(found, trained.encode(np.array(x, dtype=np.float64)))


def test_json_objects_lists_and_single_values(trained):
    x = samples(4, seed=6)
    wanted = trained.encode(x)
    objects = "".join(json.dumps({"text": "a\u2028b", "v": r.tolist(), "n": 1}) + "\r\n" for r in x)
    found = lines(answer(trained, objects.encode()))
    close([one["codes"] for one in found], wanted)
    assert all(list(one) == ["text", "n", "codes"] for one in found)
    assert found[0]["text"] == "a\u2028b"
    raw = json.dumps({"text": "a\u2028b", "v": x[0].tolist()}, ensure_ascii=False)
    assert lines(answer(trained, raw.encode()))[0]["text"] == "a\u2028b"
    lists = "\n\n".join(json.dumps(r.tolist()) for r in x)  # no end of the last line
    close([one["codes"] for one in lines(answer(trained, lists.encode()))], wanted)
    single = "\n".join(json.dumps({f"c{j}": float(v) for j, v in enumerate(r)}) for r in x)
    close(
        [one["codes"] for one in lines(answer(trained, b"\xef\xbb\xbf" + single.encode()))], wanted
    )


def test_json_numbers_are_those_of_the_model(trained):
    x = samples(20, seed=6)
    content = "\n".join(json.dumps(r.tolist()) for r in x).encode()
    found = np.array([one["codes"] for one in lines(answer(trained, content))])
    wanted = trained.encode(x.astype(np.float64), as_trained=True)
    np.testing.assert_array_equal(found.astype(np.float32), wanted)


def test_sparse_json_lines_hold_what_is_active(trained):
    x = samples(20, seed=6)
    content = "\n".join(json.dumps({"id": i, "v": r.tolist()}) for i, r in enumerate(x)).encode()
    dense = np.zeros((20, M))
    for one in lines(answer(trained, content, sparse=True)):
        assert len(one["latents"]) == len(one["codes"]) <= ACTIVE
        dense[one["id"], one["latents"]] = one["codes"]
    close(dense, trained.encode(x))
    for other in (npy(x), b"1,2,3\n"):
        with pytest.raises(UsageError, match="for JSON lines alone"):
            answer(trained, other, sparse=True)


def test_csv_by_name_by_place_and_with_other_signs(tmp_path):
    x = samples(30)[:, :3].astype(np.float64)
    rows = [f"g{i};{a:.6f};{b:.6f};{c:.6f}".replace(".", ",") for i, (a, b, c) in enumerate(x)]
    (tmp_path / "t.csv").write_text("\n".join(["id;a;b;c", *rows]))
    from simplecell.run.begin import begin
    from simplecell.run.recipe import Recipe

    told = ["train.steps=4", "model.n_latents=5"]
    session = begin(tmp_path / "t.csv", tmp_path / "run", Recipe.load("table"), settings=told)
    list(session.records())
    session.finish()
    trained = session.run.load()
    wanted = trained.encode(x.round(6))
    text = "\n".join(["id;a;b;c", *rows])
    for content in (text, f"sep=;\n# why\n{text}", text.replace("\n", "\r\n")):
        table = list(csv.DictReader(io.StringIO(answer(trained, content.encode()).decode())))
        assert [row["id"] for row in table] == [f"g{i}" for i in range(30)]
        close([[float(row[f"latent{j}"]) for j in range(5)] for row in table], wanted)
    turned = "\n".join("\t".join(f"{v:.6f}" for v in (c, b, a)) for a, b, c in x)
    table = list(csv.reader(io.StringIO(answer(trained, f"c\tb\ta\n{turned}".encode()).decode())))
    close(np.array(table[1:], float), wanted)


def test_what_is_left_out_is_told_once(trained, capsys):
    x = samples(3)
    rows = "".join(json.dumps({"id": i, "v": row.tolist()}) + "\n" for i, row in enumerate(x))
    chunks = Chunks(*(line.encode() + b"\n" for line in rows.splitlines()))
    encode_stream(trained, chunks, io.BytesIO())
    assert capsys.readouterr().err.count("records, and no inputs: id") == 1


def text_of(frame):
    return frame.to_csv(index=False).encode()


def test_names_of_an_array_s_columns_are_looked_at(capsys):
    import pandas as pd

    frame = pd.DataFrame(samples(40)[:, :3], columns=["a", "b", "c"])
    sae = SparseAutoencoder(n_latents=4, max_iter=3, preprocess=["standardize"]).fit(frame)
    text = frame[["b", "c", "a"]].to_csv(index=False)
    table = np.array(
        list(csv.reader(io.StringIO(answer(sae._trained, text.encode()).decode())))[1:]
    )
    close(table.astype(float), sae.transform(frame))
    more = frame.assign(other=1.0).to_csv(index=False)
    assert answer(sae._trained, more.encode()) == answer(sae._trained, text_of(frame))
    assert capsys.readouterr().err.count("'other' of standard input are no inputs") == 1
    with pytest.raises(DataError, match="has no column 'c'"):
        answer(sae._trained, frame[["a", "b"]].to_csv(index=False).encode())


BAD = {
    "nothing": (b"", "standard input is empty"),
    "spaces": (b" \n \n", "standard input is empty"),
    "a pickle": (b"\x80\x04]q", "never opens"),
    "bytes": (b"PK\x03\x04\xff\xfe\n", "no text in UTF-8"),
    "no JSON": (b'{"a": \n', "line 1 of standard input is no JSON"),
    "another object": (b"[1, 2]]\n", "line 1 of standard input is no JSON"),
    "too few": (b"1,2,3\n", "standard input has 3 columns, but this model was built for 12"),
    "not finite": (b"[" + b"1e999, " * 11 + b"1]\n", "inf"),
    "no rows": (npy(samples(3)[:0]), "standard input"),
    "cut header": (npy(samples(3))[:40], "standard input"),
    "another width": (npy(samples(3)[:, :5]), "5 inputs per sample"),
    "codes there already": (b'{"codes": 1, "v": [1,2,3,4,5,6,7,8,9,10,11,12]}\n', "rename it"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used_is_one_sentence(trained, case):
    content, sentence = BAD[case]
    out = io.BytesIO()
    with pytest.raises(DataError, match=sentence):
        encode_stream(trained, io.BytesIO(content), out)
    assert out.getvalue() == b""


class Chunks(io.RawIOBase):
    """A pipe that gives these pieces, and waits before each but the first."""

    def __init__(self, *pieces, wait=0.2):
        self.pieces, self.wait, self.waited = list(pieces), wait, False

    def readable(self):
        return True

    def read(self, size=-1):
        if self.waited:
            time.sleep(self.wait)
        self.waited = True
        return self.pieces.pop(0) if self.pieces else b""


ROW = json.dumps(list(range(12))).encode()
CSV = ROW[1:-1]
BROKEN = {  # two good lines, and one that is none: what is said of it
    "json": (b'{"v": ' + ROW + b"}", b"{broken", "line 3 of standard input is no JSON: "),
    "a number": (ROW, b"3", "line 3 of standard input is no JSON object"),
    "other width": (
        b'{"v": ' + ROW + b"}",
        b"[1, 2]",
        "line 3 of standard input has 2 inputs a row, but this run was trained on 12",
    ),
    "other field": (
        b'{"v": ' + ROW + b"}",
        b'{"w": 1}',
        "line 3 of standard input has None in 'v'",
    ),
    "json nan": (ROW, b"[NaN" + ROW[2:], "line 3 of standard input has nan for input 0; "),
    "too large": (ROW, b"[1e300" + ROW[2:], "line 3 of standard input holds numbers so large"),
    "reserved": (
        b'{"v": ' + ROW + b"}",
        b'{"codes": 1, "v": ' + ROW + b"}",
        "line 3 of standard input has a field 'codes'",
    ),
    "csv": (CSV, b"1,2,x", "line 3 of standard input has 3 columns"),
    "csv nan": (CSV, b"nan" + CSV[1:], "column 'column_0' of line 3 of standard input is missing"),
    "csv word": (CSV, b"x" + CSV[1:], "column 'column_0' of line 3 of standard input is 'x'"),
    "bytes": (CSV, b"\xff" + CSV, "line 3 of standard input is no text in UTF-8"),
}


@pytest.mark.parametrize("after", [0, 5])
@pytest.mark.parametrize("case", BROKEN)
def test_rows_before_a_bad_one_in_its_batch_go_out(trained, case, after):
    good, bad, said = BROKEN[case]
    out = io.BytesIO()
    content = b"\n".join([good, good, bad, *[good] * after]) + b"\n"
    with pytest.raises(DataError) as error:
        encode_stream(trained, io.BytesIO(content), out)
    assert str(error.value).startswith(said)
    assert out.getvalue() == answer(trained, good + b"\n" + good)


def test_lines_are_counted_from_the_first_that_came(trained):
    for content in (b"\n\n" + ROW + b"\n\n{", b"\n# why\n" + CSV + b"\n\n1,2"):
        with pytest.raises(DataError, match=r"^line 5 of standard input"):
            encode_stream(trained, io.BytesIO(content), io.BytesIO())


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("value", [np.nan, 1e300])
def test_rows_of_npy_before_a_bad_one_go_out(trained, order, value):
    x = samples(9000).astype(np.float64)  # several passes
    x[7000, 4] = value
    out = io.BytesIO()
    with pytest.raises(DataError, match="sample 7000"):
        encode_stream(trained, io.BytesIO(npy(np.asarray(x, order=order))), out)
    found = np.frombuffer(out.getvalue()[128:], "<f4").reshape(-1, M)
    close(found, trained.encode(x[:7000]))


def test_a_pipe_whose_last_line_is_broken_gives_the_others(pipe, trained):
    x = samples(3)
    pipe.send(b"".join(json.dumps(row.tolist()).encode() + b"\n" for row in x) + b"{broken")
    pipe.into.close()
    rest, said, code = pipe.end()
    close([one["codes"] for one in lines(rest)], trained.encode(x))
    assert code == 3
    assert "line 4 of standard input is no JSON" in said


def test_an_error_says_which_sample_of_the_stream_it_is(trained):
    x = samples(3).astype(np.float64)
    x[2, 4] = np.nan
    content, out = npy(x), io.BytesIO()
    last = 2 * D * 8
    with pytest.raises(DataError, match=r"^sample 2 \(the first is 0\) .* nan for input 4"):
        encode_stream(trained, Chunks(content[:-last], content[-last:]), out)
    assert len(out.getvalue()) == 128 + 2 * M * 4


@pytest.mark.parametrize("form", ["npy", "json", "csv"])
def test_wherever_the_pipe_cuts_it_the_answer_is_the_same(trained, form):
    x = samples(25, seed=7)
    content = {
        "npy": npy(x),
        "json": "\n".join(json.dumps({"id": "höhe", "v": row.tolist()}) for row in x).encode(),
        "csv": "\r\n".join(",".join(map(repr, row.tolist())) for row in x).encode(),
    }[form]
    wanted, random = trained.encode(x), np.random.default_rng(3)
    for _ in range(8):
        cuts = [0, *sorted(random.integers(1, len(content), 12)), len(content)]
        pieces = [content[a:b] for a, b in itertools.pairwise(cuts) if b > a]
        out = io.BytesIO()
        encode_stream(trained, Chunks(*pieces, wait=0.003), out)
        text = out.getvalue()
        if form == "npy":
            found = np.load(io.BytesIO(text))
        elif form == "json":
            found = [one["codes"] for one in lines(text)]
        else:
            found = np.array(list(csv.reader(io.StringIO(text.decode())))[1:], float)
        close(found, wanted)


def test_memory_does_not_grow_with_the_stream(trained):
    class Endless(io.RawIOBase):
        """Many rows that nobody holds."""

        def __init__(self, n):
            self.head, self.left, self.block = _header(n), n * D * 4, samples(2000).tobytes()

        def readable(self):
            return True

        def read(self, size=-1):
            if self.head:
                head, self.head = self.head, b""
                return head
            part = self.block[: min(size, self.left)]
            self.left -= len(part)
            return part

    class Nowhere(io.RawIOBase):
        n = 0

        def writable(self):
            return True

        def write(self, content):
            Nowhere.n += memoryview(content).nbytes
            return memoryview(content).nbytes

    n = 600_000
    tracemalloc.start()
    try:
        encode_stream(trained, Endless(n), Nowhere())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert n * M * 4 < Nowhere.n
    assert peak < n * (D + M) * 4 / 3


def _header(n):
    buffer = io.BytesIO()
    told = {"descr": "<f4", "fortran_order": False, "shape": (n, D)}
    np.lib.format.write_array_header_1_0(buffer, told)
    return buffer.getvalue()


# --- decode RUN - --out - ---


def samples_of(trained, content):
    out = io.BytesIO()
    told = decode_stream(trained, io.BytesIO(content), out)
    return out.getvalue(), told


def test_codes_that_went_out_come_back_as_samples(trained):
    x = samples(50)
    wanted = trained.decode(trained.encode(x))
    rows = [json.dumps({"id": f"a{i}", "x": row.tolist()}) for i, row in enumerate(x)]
    text = "\n".join(rows).encode()
    for sparse in (False, True):
        coded = answer(trained, text, sparse=sparse)
        out, told = samples_of(trained, coded)
        found = lines(out)
        close([line["x"] for line in found], wanted)
        assert [line["id"] for line in found] == [f"a{i}" for i in range(50)]
        assert list(found[0]) == ["id", "x"]
        assert told == [f"50 rows of {D} inputs: -"]
    out, _ = samples_of(trained, answer(trained, npy(x)))
    close(np.load(io.BytesIO(out)), wanted)
    out, _ = samples_of(trained, npy(np.asfortranarray(trained.encode(x))))
    close(np.load(io.BytesIO(out)), wanted)
    out, _ = samples_of(trained, csv_codes(trained, x))
    read = list(csv.reader(io.StringIO(out.decode())))
    assert read[0][0] == "id"
    assert [row[0] for row in read[1:]] == [f"n{i}" for i in range(50)]
    close(np.array([row[1:] for row in read[1:]], dtype=float), wanted)
    bare = "\n".join(json.dumps(row) for row in trained.encode(x).tolist())
    out, _ = samples_of(trained, bare.encode())
    close([line["x"] for line in lines(out)], wanted)


def csv_codes(trained, x):
    codes = trained.encode(x)
    head = ",".join(["id", *(f"latent{j}" for j in range(M))])
    rows = [f"n{i}," + ",".join(map(repr, row.tolist())) for i, row in enumerate(codes)]
    return "\n".join([head, *rows]).encode()


def test_codes_that_are_none_are_named_by_their_line(trained):
    good = json.dumps({"codes": [0.5] * M})
    cases = [
        ({"codes": [0.5] * (M - 1)}, f"line 2 of standard input has {M - 1} codes a row"),
        ({"codes": [0.5, "a"]}, "line 2 .* a list of finite numbers is needed"),
        ({"codes": [True] * M}, "line 2 .* a list of finite numbers is needed"),
        ({"codes": [1.0], "latents": [M]}, f"line 2 .* a number from 0 to {M - 1} for each"),
        ({"codes": [1.0, 2.0], "latents": [3, 3]}, "line 2 .* none of them twice"),
        ({"codes": [0.5] * M, "x": 1}, "line 2 .* has a field 'x'"),
    ]
    for record, told in cases:
        out = io.BytesIO()
        content = f"{good}\n{json.dumps(record)}\n{good}\n".encode()
        with pytest.raises(DataError, match=told):
            decode_stream(trained, io.BytesIO(content), out)
        assert len(lines(out.getvalue())) == 1  # the row before it went out
    with pytest.raises(DataError, match=f"has {M + 1} codes a row, but this model has {M}"):
        samples_of(trained, npy(np.zeros((3, M + 1), np.float32)))
    codes = np.zeros((5, M), np.float32)
    codes[3, 1] = np.nan
    with pytest.raises(DataError, match="sample 3"):
        samples_of(trained, npy(codes))
    with pytest.raises(DataError, match="is empty"):
        samples_of(trained, b"")


def test_decoding_holds_a_batch_alone(trained):
    codes = np.zeros((600_000, M), np.float32)
    codes[:, 0] = 1
    content, out = npy(codes), Counted()
    tracemalloc.start()
    decode_stream(trained, io.BytesIO(content), out)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert out.size > 600_000 * D * 4
    assert most < 600_000 * D * 8 / 2  # of all of it in the precision of decoding


class Counted(io.RawIOBase):
    """Counts what is written to it."""

    def __init__(self):
        self.size = 0

    def write(self, content):
        self.size += len(memoryview(content).cast("B"))
        return len(content)
