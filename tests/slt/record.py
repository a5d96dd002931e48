"""Writes DuckDB's answers into files of DuckDB's form, so that they can be read and held against sqlray.

    python -m tests.slt.record tests/slt/sqlray/*.test

Every query's types and rows are written anew, every `statement ok` is checked to succeed and every `statement
error` to fail. Write a new query as `query` and its SQL, then record; read the difference before you keep it.
"""

import argparse
import re
from pathlib import Path

import duckdb
import pyarrow as pa

from tests.slt.formats import duckdb_text


def record_text(text: str) -> str:
    """The file's text with DuckDB's answers."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    blocks = re.split(r"\n\s*\n", text.strip("\n"))
    return "\n\n".join(_record_block(connection, block) for block in blocks) + "\n"


def _record_block(connection: duckdb.DuckDBPyConnection, block: str) -> str:
    lines = block.split("\n")
    comments = [line for line in lines if line.startswith("#")]
    body = [line for line in lines if not line.startswith("#")]
    if not body:
        return block
    head, rest = body[0], body[1:]
    sql = "\n".join(rest[: rest.index("----")] if "----" in rest else rest)
    match head.split():
        case ["statement", "ok"]:
            connection.execute(sql)
            return block
        case ["statement", "error"]:
            try:
                connection.execute(sql).fetchall()
            except duckdb.Error:
                return block
            raise SystemExit(f"DuckDB accepts this statement:\n{sql}")
        case ["query", *words]:
            sort = next((word for word in words if word in ("nosort", "rowsort", "valuesort")), "nosort")
            return "\n".join([*comments, *_answer(connection, sql, sort)])
    return block


def _answer(connection: duckdb.DuckDBPyConnection, sql: str, sort: str) -> list[str]:
    result = connection.sql(sql)
    types = "".join(_letter(column) for column in result.to_arrow_table().schema.types)
    rows = ["\t".join(duckdb_text(value) for value in row) for row in result.fetchall()]
    if sort == "rowsort":
        rows.sort()
    return [f"query {types} {sort}".removesuffix(" nosort"), sql, "----", *rows]


def _letter(dtype: pa.DataType) -> str:
    if pa.types.is_integer(dtype):
        return "I"
    return "R" if pa.types.is_floating(dtype) or pa.types.is_decimal(dtype) else "T"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.slt.record")
    parser.add_argument("paths", nargs="+", type=Path)
    for path in parser.parse_args().paths:
        path.write_text(record_text(path.read_text()))


if __name__ == "__main__":
    main()
