"""Read a run's Parquet into pandas with whichever reader is there.

Tried in order: pandas (pyarrow or fastparquet), polars, duckdb, and last the
DuckDB shared library that EDITPIPE_DUCKDB_LIB names, through its C interface.
"""

import ctypes
import glob
import os
import tempfile

import pandas as pd


def read(path):
    """Return the rows of one Parquet file, or of all files in a folder."""
    files = sorted(glob.glob(os.path.join(path, "*.parquet"))) if os.path.isdir(path) else [path]
    if not files:
        raise FileNotFoundError(f"no Parquet file in {path}")
    for reader in (_pandas, _polars, _duckdb, _duckdb_library):
        try:
            return reader(files)
        except ImportError:
            continue
    raise ImportError("no Parquet reader: install pyarrow, polars or duckdb, "
                      "or set EDITPIPE_DUCKDB_LIB to a DuckDB shared library")


def _pandas(files):
    return pd.concat([pd.read_parquet(f) for f in files], ignore_index=True)


def _polars(files):
    import polars
    return polars.concat([polars.read_parquet(f) for f in files]).to_pandas()


def _quoted(files):
    return "[" + ", ".join("'" + f.replace("'", "''") + "'" for f in files) + "]"


def _duckdb(files):
    import duckdb
    return duckdb.sql(f"SELECT * FROM read_parquet({_quoted(files)})").df()


def _duckdb_library(files):
    name = os.environ.get("EDITPIPE_DUCKDB_LIB")
    if not name:
        raise ImportError("EDITPIPE_DUCKDB_LIB is not set")
    lib = ctypes.CDLL(name)
    lib.duckdb_result_error.restype = ctypes.c_char_p
    database, connection = ctypes.c_void_p(), ctypes.c_void_p()
    result = (ctypes.c_uint64 * 32)()  # larger than duckdb_result
    if lib.duckdb_open(None, ctypes.byref(database)) or lib.duckdb_connect(database, ctypes.byref(connection)):
        raise RuntimeError("DuckDB did not open")
    try:
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "rows.json")
            query = f"COPY (SELECT * FROM read_parquet({_quoted(files)})) TO '{out}' (FORMAT JSON)"
            failed = lib.duckdb_query(connection, query.encode(), ctypes.byref(result))
            message = lib.duckdb_result_error(ctypes.byref(result))
            lib.duckdb_destroy_result(ctypes.byref(result))
            if failed:
                raise RuntimeError((message or b"query failed").decode())
            return pd.read_json(out, lines=True, dtype={"edit_id": str, "probe_id": str})
    finally:
        lib.duckdb_disconnect(ctypes.byref(connection))
        lib.duckdb_close(ctypes.byref(database))
