"""Every scalar expression against DuckDB, over columns of awkward values and NULLs."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

import sqlray
from executor.functions import implemented
from planner.errors import SqlrayError
from planner.functions import scalar_names
from tests.executor import oracle

ARITHMETIC = """
i + j | i - j | n * n | i + 1::bigint | t + j | d + e | d - e | d * e | d * d | d + 1 | 1 - d | d * j | w + d | w * 2
-i::bigint | -d | -f | +i | i / j | d / e | g / 2 | f + 1 | f - f | f * 2 | f / 0 | -g / 0 | f % 3 | g % 0.75::double
i // nullif(j, 0) | i % nullif(j, 0) | n // nullif(j, 0) | d % nullif(e, 0) | d % 0.3 | i % 7 | -7 % nullif(j, 0) | u + 1 | u * 2
t * 2 | abs(i::bigint) | abs(d) | abs(f) | sign(d) | sign(f) | sign(i) | w - w | r + 1 | r * r | f / f
(1 - e) * (1 + e) * d | d * e * e | 1.5 * i | i * 0.1 | 2 * d + 1 | d / 3 | d / nullif(j, 0) | 10 - d - e
"""
COMPARISONS = """
i = j | i < j | d > e | d = 1.25 | d <> e | f = f | f > 1 | f < g | f is distinct from g | i is not distinct from j
s < p | s = p | k = l | k < l | da < db | ta >= tb | da = ta | da between date '1970-01-01' and date '2021-01-01'
i in (1, 2, null) | i not in (1, 2) | i in (0, 1, 2, 7, 100, 5) | d in (1.25, 0.05) | d in (1.25, 2.5, 0, 0.05, 99999.99)
d not in (1.25, null) | s in ('a', 'abc', null) | f in (1.5, 'nan'::double) | da in (date '1970-01-01', date '2000-02-29')
i is null | i is not null | k is true | k is not false | k and l | k or l | not k | k and null | k or null | k and (i > 0 or l)
case when i > 0 then 'pos' when i < 0 then 'neg' end | case j when 1 then d when 2 then e else 0 end | w > d | d < 1.5::double
case when j = 0 then null else i // j end | coalesce(i, j, 0) | coalesce(d, e, 1.5) | nullif(i, j) | nullif(s, 'a')
if(k, i, j) | greatest(i, j) | least(d, e) | greatest(f, g) | least(f, g) | greatest(s, p) | least(da, db) | typeof(d)
t between -1 and 5 | not (i between j and 100) | s between 'a' and 'b' | ti < time '12:00:00' | bl = 'abc'::blob
coalesce(case when j <> 0 then i // j end, -1) | d is distinct from 1.25 | ta is distinct from tb
"""
CASTS = """
i::bigint | b::double | j::tinyint | d::integer | e::integer | d::double | d::decimal(10, 1) | e::decimal(18, 6) | i::decimal(15, 2)
j::decimal(3, 1) | g::integer | g::bigint | g::decimal(10, 2) | try_cast(f as integer) | try_cast(i as tinyint) | try_cast(d as decimal(4, 2))
try_cast(x as integer) | try_cast(x as bigint) | try_cast(x as double) | try_cast(x as decimal(10, 2)) | try_cast(y as date)
try_cast(f as decimal(10, 2)) | i::varchar | d::varchar | f::varchar | g::varchar | r::varchar | k::varchar | da::varchar | ta::varchar
ti::varchar | tz::varchar | k::integer | i::boolean | d::boolean | g::boolean | da::timestamp | ta::date | ta::time | tz::date | s::blob
try_cast(x as boolean) | ('t' || '')::boolean | try_cast(y as timestamp) | w::double | w::decimal(38, 2) | r::double | g::float | u::tinyint::varchar
try_cast(u as tinyint) | t::utinyint::integer | null::integer | null::varchar || s | w::varchar | da::timestamptz | ta::timestamptz | tz::timestamp
try_cast('2020-01-01T10:11:12Z' || left(s, 0) as timestamp) | try_cast('2020-01-01 10:11:12.123456' || left(s, 0) as timestamp)
try_cast('12:34:56.5' || left(s, 0) as time) | try_cast('2020-01-01 10:11:12+02' || left(s, 0) as timestamptz)
"""
NUMBERS = """
ceil(d) | floor(d) | round(d) | round(d, 1) | round(d, -1) | round(e, 2) | trunc(d) | ceil(g) | floor(f) | round(g) | round(g, 1)
round(f, 2) | round(i, -2) | round(i) | trunc(g) | sqrt(abs(g)) | cbrt(g) | exp(j) | ln(abs(g)) | log10(abs(g)) | log2(abs(g)) | log(abs(g))
log(2, abs(j)) | pow(g, j) | g ** 2 | mod(i, nullif(j, 0)) | sin(g) | cos(g) | tan(g) | cot(g) | asin(0.5::double) | acos(g / 100) | atan(g)
atan2(g, j) | sinh(g) | cosh(g) | tanh(g) | asinh(g) | acosh(abs(g) + 1) | atanh(g / 200) | pi() | degrees(g) | radians(g)
i & j | i|j | xor(i, j) | ~i | j << 2 | i >> 2 | bit_count(i) | bit_count(j) | gcd(i, j) | lcm(j, n) | even(g) | isnan(f) | isinf(f) | isfinite(f)
sqrt(g) | ln(g) | floor(w) | ceil(w) | round(w, 2) | round(w) | floor(i) | ceil(j) | abs(w) | sign(w) | @ j | trunc(w)
"""
STRINGS = """
length(s) | strlen(s) | bit_length(s) | octet_length(bl) | lower(s) | upper(s) | trim(s) | ltrim(s) | rtrim(s) | trim(s, 'a ') | ltrim(s, p)
substring(s, 2) | substring(s, 2, 3) | substring(s, n) | substring(s, n, 2) | substring(s, 1, n) | substring(s, -3, 2) | substring(s, 0, 2)
left(s, 2) | left(s, n) | right(s, 2) | right(s, n) | replace(s, 'a', 'zz') | replace(s, p, 'Q') | s || p | s || i | s || null | i || d
concat(s, p, i) | concat(s) | concat_ws('-', s, p, i) | concat_ws(p, s, s) | strpos(s, 'b') | strpos(s, p) | position('l' in s) | instr(s, 'ü')
starts_with(s, 'a') | starts_with(s, p) | ends_with(s, 'c') | ends_with(s, p) | contains(s, 'b') | contains(s, p) | lpad(s, 5, '*') | rpad(s, 5, 'xy')
lpad(s, j + 3, 'ab') | repeat(s, 2) | repeat(s, n) | reverse(s) | split_part(s, ',', 2) | split_part(s, 'X', n) | split_part(s, ',', -1)
regexp_matches(s, '[a-c]+') | regexp_matches(s, p || 'b*') | regexp_full_match(s, 'a.*c') | regexp_replace(s, '[a-c]', 'Z') | regexp_replace(s, '([a-c])', '<\\1>', 'g')
regexp_extract(s, '([a-z])([a-z])', 2) | regexp_extract(s, 'b.') | regexp_matches(s, 'ABC', 'i') | s similar to 'a.*' | s ~ 'a.c'
s like 'a%' | s like '%c' | s like '%b%' | s like 'a%c' | s like '%a%b%' | s like '_b%' | s like 'abc' | s like '%' | s like '' | s like '_'
s like p | s ilike 'ABC%' | s ilike p | s not like 'a%' | s like 'a$%b%' escape '$' | s like null | s like 'x%y' | s like '%\n%'
s glob 'a*' | s glob '[ab]*' | s glob '?bc' | ascii(s) | unicode(s) | chr(65 + abs(n)::integer) | md5(s) | sha256(s) | sha1(s) | translate(s, 'abc', 'xy')
hex(s) | hex(i) | hex(bl) | bin(abs(i::bigint)) | unhex(hex(s)) | to_base64(bl) | from_base64(to_base64(bl)) | encode(s) | decode(encode(s)) | levenshtein(s, p)
s ~~ 'a%' | s !~~ 'a%' | s like '.%' | s like '%(%' | length(s || '') | lower(null) | regexp_extract(s, '(a)|(X)', 1) | bl || bl
"""
DATES = """
year(da) | month(da) | day(da) | quarter(da) | week(da) | dayofweek(da) | isodow(da) | dayofyear(da) | isoyear(da) | yearweek(da) | decade(da) | century(da)
millennium(da) | year(ta) | hour(ta) | minute(ta) | second(ta) | millisecond(ta) | microsecond(ta) | hour(ti) | second(ti) | microsecond(ti) | epoch(ta) | epoch(da) | epoch(ti)
epoch_ms(ta) | epoch_us(ta) | epoch_ns(ta) | epoch_ms(n) | extract(year from ta) | extract(epoch from tz) | date_part('month', da) | hour(tz)
date_trunc('year', ta) | date_trunc('quarter', ta) | date_trunc('month', da) | date_trunc('week', ta) | date_trunc('day', ta) | date_trunc('hour', ta) | date_trunc('minute', ta)
date_trunc('decade', ta) | date_trunc('century', ta) | date_trunc('millennium', ta) | date_trunc('second', ta) | date_trunc('month', tz) | date_trunc('milliseconds', ta)
date_diff('day', da, db) | date_diff('month', da, db) | date_diff('year', ta, tb) | date_diff('week', ta, tb) | date_diff('quarter', da, db) | date_diff('hour', ta, tb) | date_diff('second', ta, tb)
date_sub('day', da, db) | date_sub('month', da, db) | date_sub('year', ta, tb) | date_sub('week', ta, tb) | date_sub('hour', ta, tb) | date_sub('quarter', ta, tb)
last_day(da) | last_day(ta) | monthname(da) | dayname(da) | make_date(2020, 1 + abs(j), 5) | make_time(abs(j), 5, 6.5) | make_timestamp(2020, 2, 3, 4, 5, 6.789)
strftime(ta, '%Y-%m-%d %H:%M:%S') | strftime(da, '%d/%m/%y') | strftime(ta, '%f') | strftime(ta, '%j %B %a %I %p') | strptime('2020-01-02' || left(s, 0), '%Y-%m-%d') | try_strptime(y, '%Y-%m-%d')
strptime('2020-01-02 03:04:05' || left(s, 0), '%Y-%m-%d %H:%M:%S') | to_timestamp(n) | da + 1 | da - 1 | da - db | da + j | ta - tb | da + interval 1 month | da - interval '1 year'
ta + interval '1 month' | ta + interval '1 day 2 hours' | ta - interval '3 months' | da + interval 10 day | da + ti | ta + to_days(j) | ta + to_months(j) | ti + interval '5 hours'
julian(ta) | tz + interval '1 day' | timezone('Europe/Berlin', ta) | timezone('America/New_York', tz) | tz at time zone 'Asia/Tokyo' | age(ta, tb) | da + to_years(j)
ta + interval '1 month' * j | to_hours(j) | to_minutes(n) | to_seconds(g) | interval '1 month' + interval '1 day' | -to_days(j) | interval '10 days' * 1.5 | (ta - tb)::varchar
to_days(j) = to_hours(24 * j) | to_months(1) > to_days(j) | year(interval '14 months') | month(interval '14 months') | hour(to_minutes(n)) | epoch(interval '1 day') | day(ta - tb)
make_timestamp(n) | date_trunc('day', ta) = ta::date | da::timestamp = ta | extract(week from da) | extract(isodow from ta) | datediff('day', da, db)
"""


def split(text: str) -> list[str]:
    lines = " | ".join(line.strip() for line in text.strip().splitlines())
    return [case.strip() for case in lines.split(" | ") if case.strip()]


CASES = {
    "arithmetic": split(ARITHMETIC), "comparisons": split(COMPARISONS), "casts": split(CASTS), "numbers": split(NUMBERS),
    "strings": split(STRINGS), "dates": split(DATES),
}  # fmt: skip


@pytest.fixture(scope="module")
def engines() -> tuple[sqlray.Session, duckdb.DuckDBPyConnection]:
    return oracle.session(), oracle.connection()


def run(engines: tuple[sqlray.Session, duckdb.DuckDBPyConnection], expression: str) -> tuple[Any, Any]:
    """Both columns, or the errors."""
    sql = f"select {expression} as v from t order by id"
    session, connection = engines
    results: list[Any] = []
    for fetch in (lambda: session.sql(sql).to_arrow(), lambda: connection.sql(sql).to_arrow_table()):
        try:
            results.append(fetch().column(0).to_pylist())
        except (SqlrayError, duckdb.Error) as error:
            results.append(error)
    return results[0], results[1]


@pytest.mark.parametrize("expression", [c for cases in CASES.values() for c in cases])
def test_equals_duckdb(engines: tuple[sqlray.Session, duckdb.DuckDBPyConnection], expression: str) -> None:
    ours, theirs = run(engines, expression)
    if isinstance(theirs, duckdb.Error):
        assert isinstance(ours, SqlrayError), f"DuckDB says {theirs}"
        return
    if isinstance(ours, SqlrayError):
        raise ours
    wrong = [(a, b) for a, b in zip(ours, theirs, strict=True) if not oracle.same(a, b)]
    assert not wrong, f"(ours, DuckDB's): {wrong[:5]}"
