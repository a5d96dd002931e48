# ruff: noqa: E501 - tables of templates read better unbroken
"""Scalar functions composed at random, over columns of awkward values and NULLs, against DuckDB.

``SQLRAY_FUZZ=20000 pytest tests/executor/test_function_fuzz.py`` runs that many expressions.
"""

from __future__ import annotations

import os
import random
from typing import Any

import duckdb

from planner.errors import ExecutionError, SqlrayError
from tests.executor import oracle

# Per kind of value: what has it, leaves first. ``{kind}`` stands for an expression of that kind.
TEMPLATES = {
    "int": """i; j; n; t; u; 1; 0; -3; 2; 5; {int} + {int}; {int} - {int}; {int} * {int}; {int} // nullif({int}, 0)
        {int} % nullif({int}, 0); abs({int}); sign({int}); length({str}); strpos({str}, {str}); ascii({str}); {int} & {int}
        xor({int}, {int}); year({date}); month({ts}); hour({ts}); dayofweek({date}); date_diff('day', {date}, {date})
        date_diff('month', {ts}, {ts}); date_sub('day', {ts}, {ts}); coalesce({int}, {int}); nullif({int}, {int})
        if({bool}, {int}, {int}); greatest({int}, {int}); least({int}, {int}, {int}); {date} - {date}; ({int})::bigint
        case when {bool} then {int} else {int} end; case {int} when {int} then {int} end; try_cast({str} as int)
        try_cast({int} as tinyint); gcd({int}, {int}); -{int}; unicode({str}); week({date}); epoch_ms({ts}); ({bool})::int
        levenshtein({str}, {str}); ({dec})::int; bit_count({int}); date_part('quarter', {ts}); floor({dec})::bigint""",
    "dec": """d; e; 1.25; 0.5; -2.75; {dec} + {dec}; {dec} - {dec}; {dec} * {int}; {dec} + {int}; {int} - {dec}; abs({dec})
        round({dec}, 1); round({dec}); trunc({dec}, 1); ceil({dec}); floor({dec}); -{dec}; coalesce({dec}, {dec})
        nullif({dec}, {dec}); greatest({dec}, {dec}); case when {bool} then {dec} else {int} end; {dec} % nullif({dec}, 0)
        ({int})::decimal(18, 3); ({dec})::decimal(20, 1); least({dec}, {int}); try_cast({str} as decimal(10, 2)); d * e""",
    "dbl": """g; 1.5::double; {dbl} + {dbl}; {dbl} - {dbl}; {dbl} * {dbl}; {int} / {int}; {dec} / {dec}; sqrt({dbl}); ln({dbl})
        log10({dbl}); pow({dbl}, 2); sin(g); atan2({dbl}, {dbl}); round({dbl}, 1); ceil({dbl}); abs({dbl}); ({int})::double
        ({dec})::double; coalesce({dbl}, {dbl}); nullif({dbl}, {dbl}); greatest({dbl}, {dbl}); epoch({ts}); -{dbl}
        case when {bool} then {dbl} else {int} end; if({bool}, {dbl}, {dec}); degrees({dbl})""",
    "str": """s; p; x; y; 'a'; ''; '%b%'; 'Hello'; upper({str}); lower({str}); trim({str}); ltrim({str}, {str}); reverse({str})
        substring({str}, {int} % 9); substring({str}, {int} % 9, {int} % 9); left({str}, {int} % 9); right({str}, {int} % 9)
        replace({str}, {str}, {str}); {str} || {str}; {str} || {int}; concat({str}, {int}, {str}); concat_ws({str}, {str}, {str})
        split_part({str}, ',', {int}); repeat({str}, 2); lpad({str}, 5, '*'); regexp_replace({str}, '[a-c]', 'Z')
        regexp_extract({str}, '([a-z]+)'); coalesce({str}, {str}); nullif({str}, {str}); greatest({str}, {str}); md5({str})
        case when {bool} then {str} end; ({int})::varchar; ({dec})::varchar; ({date})::varchar; ({ts})::varchar; hex({str})
        ({bool})::varchar; translate({str}, 'abc', 'xy'); dayname({date}); monthname({ts}); strftime({ts}, '%Y-%m-%d %H')""",
    "bool": """k; l; true; null; {int} = {int}; {int} < {int}; {dec} >= {dec}; {dec} <> {int}; {dbl} < {dbl}; {dbl} = {int}
        {str} = {str}; {str} < {str}; {date} < {date}; {ts} >= {date}; {bool} and {bool}; {bool} or {bool}; not {bool}
        {int} is null; {str} is not null; {bool} is true; {bool} is not false; {int} in ({int}, {int}, null); {int} in (1, 2, 3)
        {int} not in (1, {int}); {str} in ('a', 'abc', ''); {str} like {str}; {str} like 'a%'; {str} not like '%b%'
        {str} ilike {str}; {int} between {int} and {int}; {dec} between {int} and {dec}; {int} is distinct from {int}
        {str} is not distinct from {str}; {dbl} is distinct from {dbl}; starts_with({str}, {str}); contains({str}, {str})
        regexp_matches({str}, '[a-z]+'); case when {bool} then {bool} else {bool} end; coalesce({bool}, {bool}); isnan({dbl})
        {bool} = {bool}; {int} = {dec}; {dbl} > {dec}; {ts} = {ts}; nullif({bool}, {bool}); {dec} in (1, 2.5, {dec})""",
    "date": """da; db; date '2000-02-29'; {date} + (({int}) % 1000)::int; last_day({date}); ({ts})::date; coalesce({date}, {date})
        greatest({date}, {date}); case when {bool} then {date} else {date} end; nullif({date}, {date}); greatest(da, try_cast(y as date))
        ({date} - interval '1 month')::date""",
    "ts": """ta; tb; timestamp '2001-02-03 04:05:06'; ({date})::timestamp; {date} + interval '1 month'; {ts} - interval '3 days'
        {ts} + interval '90 minutes'; date_trunc('month', {ts}); date_trunc('hour', {ts}); date_trunc('week', {date})
        coalesce({ts}, {ts}); least({ts}, {ts}); case when {bool} then {ts} else {date} end; {date} + to_months({int} % 50)""",
}  # fmt: skip
_PARSED = {
    kind: [t.strip() for line in text.splitlines() for t in line.split(";") if t.strip()]
    for kind, text in TEMPLATES.items()
}


def expression(kind: str, depth: int, rng: random.Random) -> str:
    """A random expression; deeper ones hold others in parentheses."""
    choices = [t for t in _PARSED[kind] if ("{" in t) == (depth > 0)]
    text = rng.choice(choices)
    while "{" in text:
        start, end = text.index("{"), text.index("}")
        inner = expression(text[start + 1 : end], depth - 1 if rng.random() < 0.8 else 0, rng)
        text = text[:start] + (f"({inner})" if " " in inner else inner) + text[end + 1 :]
    return text


def test_random_expressions_equal_duckdbs() -> None:
    rng = random.Random(20241121)
    session, connection = oracle.session(), oracle.connection()
    compared, wrong = 0, []
    count = int(os.environ.get("SQLRAY_FUZZ", "300"))
    for _ in range(count):
        text = expression(rng.choice(list(_PARSED)), rng.choice((1, 1, 2, 2, 3)), rng)
        sql = f"select {text} as v from t order by id"
        try:
            theirs: list[Any] = connection.sql(sql).to_arrow_table().column(0).to_pylist()
        except (duckdb.Error, OverflowError):  # or a date that Python has none for
            continue
        try:
            ours = session.sql(sql).to_arrow().column(0).to_pylist()
        except ExecutionError as error:
            # DuckDB drops an operand that cannot matter, and so the overflow in it.
            if "overflow" not in error.message:
                wrong.append(f"{text}: {error.message}")
            continue
        except SqlrayError as error:
            wrong.append(f"{text}: {error}")
            continue
        compared += 1
        pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if not oracle.same(a, b, 1e-9)]
        if pairs and not _rounded_by_duckdb(text, connection):
            wrong.append(f"{text}: (ours, DuckDB's) {pairs[:2]}")
    assert not wrong, "\n".join(wrong)
    assert compared > count * 0.8


def _rounded_by_duckdb(text: str, connection: duckdb.DuckDBPyConnection) -> bool:
    """Decimals that together need more than 38 digits: DuckDB drops decimal places, sqlray does not."""
    names = connection.sql(f"select typeof({text}) from t limit 1").fetchall()
    return bool(names) and ("DECIMAL(38" in names[0][0] or ("::decimal" in text and "DOUBLE" in names[0][0]))
