"""The engines that TPC-H runs on: sqlray and its peers, each a function from query number to Arrow table."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import pyarrow as pa

from planner.errors import ExecutionError
from sqlray.ray_option import connect
from tpch_queries import query

Engine = Callable[[int], pa.Table]

PEERS = ("duckdb", "polars")


def check_installed(engine: str) -> None:
    """Raise if an engine's package is not there."""
    if find_spec(engine) is None:
        raise ExecutionError(f"{engine} is not installed", hint='pip install "sqlray[tpch]"')


def open_engine(name: str, paths: dict[str, str], settings: dict[str, str]) -> Engine:
    """An engine over a data directory's tables. The settings are sqlray's options, and as ``ray`` the address of a
    cluster (empty: any); peers run as they come. All plan a query each time it runs."""
    match name:
        case "sqlray":
            return _sqlray(paths, settings)
        case "duckdb":
            return _duckdb(paths)
        case "polars":
            return _polars(paths)
        case _:
            raise ExecutionError(f"there is no peer '{name}'", hint="peers: " + ", ".join(PEERS))


def _sqlray(paths: dict[str, str], settings: dict[str, str]) -> Engine:
    session = connect(settings.get("ray"))
    for option, value in {"plan_cache_size": "0", **settings}.items():
        if option != "ray":
            session.set_option(option, value)
    for table, path in paths.items():
        session.register(table, path)
    return lambda number: session.sql(query(number)).to_arrow()


def _duckdb(paths: dict[str, str]) -> Engine:
    import duckdb

    connection = duckdb.connect()
    for table, path in paths.items():
        quoted = path.replace("'", "''")
        connection.execute(f"create view {table} as select * from read_parquet('{quoted}')")

    def run(number: int) -> pa.Table:
        result = connection.sql(query(number))
        return result.to_arrow_table()

    return run


def _polars(paths: dict[str, str]) -> Engine:
    from sqlray.tpch_polars import QUERIES, scan

    tables = {table: scan(path) for table, path in paths.items()}
    return lambda number: QUERIES[number](tables).collect(engine="streaming").to_arrow()
