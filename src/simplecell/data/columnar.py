"""Apache's files of columns: Parquet, Feather and Arrow, read as any data frame is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simplecell.data.binary import RATIO
from simplecell.data.extras import needed
from simplecell.data.loaded import Loaded
from simplecell.data.options import Options
from simplecell.data.tables import table_of_frame
from simplecell.errors import DataError, unknown

_SMALL_BYTES = 2**30
"""What a table may take however small its file is, where columns that repeat cost nothing."""
_NUMBER_BYTES = 8


def read_parquet(path: Path, options: Options) -> Loaded:
    """The table in a Parquet file; lists of numbers in a column are one input an entry."""
    parquet = needed("pyarrow.parquet", path.name)
    with parquet.ParquetFile(path, memory_map=True) as file:
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        values = sum(g.column(j).num_values for g in groups for j in range(g.num_columns))
        _refuse_trap(values * _NUMBER_BYTES, path)
        return _loaded(file.read(), path, options)


def read_arrow(path: Path, options: Options) -> Loaded:
    """The table in an Arrow file, of the file format (Feather 2) or the stream's, or of Feather 1.

    It is mapped, not copied.
    """
    arrow = needed("pyarrow", path.name)
    with arrow.memory_map(str(path)) as file:
        start = file.read(6)
        file.seek(0)
        if start[:4] == b"FEA1":
            table = needed("pyarrow.feather", path.name).read_table(path, memory_map=True)
        elif start == b"ARROW1":
            table = arrow.ipc.open_file(file).read_all()
        else:
            table = arrow.ipc.open_stream(file).read_all()
        _refuse_trap(table.nbytes, path)
        return _loaded(table, path, options)


def _refuse_trap(declared: int, path: Path) -> None:
    if declared > max(_SMALL_BYTES, RATIO * path.stat().st_size):
        raise DataError(
            f"{path.name} declares {declared / 2**30:.3g} GiB of values in "
            f"{path.stat().st_size} bytes; if that is meant, save them as .npy or .safetensors"
        )


def _loaded(table: Any, path: Path, options: Options) -> Loaded:
    """As a table; with `data.key`, of its lists that column alone."""
    table.validate(full=True)  # Arrow follows offsets of damaged files out of its memory
    if options.key is not None:
        table = _with_one_list(table, options.key, path.name)
    return Loaded.of_table(table_of_frame(table, path.name, options))


def _with_one_list(table: Any, key: str, name: str) -> Any:
    """The table without its other columns of lists."""
    from pyarrow import types

    def is_list(kind: Any) -> bool:
        return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)

    lists = [field.name for field in table.schema if is_list(field.type)]
    if key not in lists:
        raise unknown(f"column of lists in {name}", key, lists)
    return table.drop_columns([column for column in lists if column != key])
