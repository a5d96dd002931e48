"""SQL text to syntax trees: the one entry to sqlglot, its errors turned into ours with their place."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, ClassVar, cast

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import ErrorLevel, SqlglotError, TokenError
from sqlglot.errors import ParseError as SqlglotParseError
from sqlglot.parser import Parser
from sqlglot.tokenizer_core import Token, TokenType

from planner.errors import BindError, ParseError, Position, SqlrayError, UnsupportedError, nearest
from planner.parser_copy import CopyOptions

DEFAULT_DIALECT = "duckdb"

_EXPLAIN = re.compile(r"EXPLAIN(\s+ANALYZE\b)?", re.IGNORECASE)
# Strings, quoted names, comments, words and dollar quotes; what remains of $ begins a parameter, the group.
_PARAMETER = re.compile(
    r"""\be'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/
    | [^\W\d][\w$]* | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$ | (?P<parameter>\$)(?=\w)""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_logger = logging.getLogger("sqlglot")


def parse(sql: str, dialect: str = DEFAULT_DIALECT) -> list[exp.Expression]:
    """The statements of a text, in order, without empty ones.

    EXPLAIN is ``exp.Command(this="EXPLAIN", expression=<the statement>, analyze=<bool>)``, since sqlglot
    keeps no tree of the explained statement itself.

    Raises:
        ParseError: the text is not SQL of that dialect.
        BindError: there is no such dialect.
    """
    reader = _dialect(dialect)
    try:
        with _quiet():
            return _statements(sql, reader)
    except SqlrayError:
        raise
    except TokenError as error:
        raise _token_error(sql, error) from None
    except SqlglotParseError as error:
        raise _parse_error(sql, error) from None
    except SqlglotError as error:
        raise ParseError(str(error).splitlines()[0], sql=sql) from None
    except RecursionError:
        raise UnsupportedError("the query is nested too deeply", sql=sql) from None
    except Exception as error:
        # A defect of the parser library on odd input; to the user it is text that cannot be read.
        raise ParseError(f"cannot read this SQL ({type(error).__name__}: {error})", sql=sql) from error


def position_at(sql: str, start: int, end: int) -> Position:
    """The place of the characters ``start`` to ``end`` (inclusive) of the text."""
    line = sql.count("\n", 0, start) + 1
    column = start - (sql.rfind("\n", 0, start) + 1) + 1
    return Position(line, column, max(1, end - start + 1))


def position_of(node: object, sql: str) -> Position | None:
    """The place of a syntax node: from its first token that has a place to its last, within one line."""
    if not isinstance(node, exp.Expression):
        return None
    start, end = _span(node)
    if start is None or end is None or end >= len(sql):
        return None
    newline = sql.find("\n", start, end + 1)
    return position_at(sql, start, end if newline < 0 else newline - 1)


def source_text(node: exp.Expression, sql: str) -> str | None:
    """The text of a node's own token (a function's name, an identifier as written), if its place is known."""
    meta = node.meta
    start, end = meta.get("start"), meta.get("end")
    return sql[start : end + 1] if isinstance(start, int) and isinstance(end, int) else None


def _span(node: exp.Expression) -> tuple[int | None, int | None]:
    start: int | None = None
    end: int | None = None
    for part in node.walk():
        meta = part.meta
        first, last = meta.get("start"), meta.get("end")
        if isinstance(first, int) and isinstance(last, int):
            start = first if start is None else min(start, first)
            end = last if end is None else max(end, last)
    return start, end


def _dialect(name: str) -> Dialect:
    try:
        return Dialect.get_or_raise(name)
    except ValueError:
        known = sorted(k for k in Dialect.classes if k)
        close = nearest(name, known)
        hint = f'did you mean "{close}"?' if close else f"known dialects: {', '.join(known)}"
        raise BindError(f'there is no SQL dialect "{name}"', hint=hint) from None


def _on_query(name: str, kind: type[exp.Expression]) -> Callable[[list[exp.Expression]], exp.Expression]:
    """EXISTS, SOME and ALL of a query that does not begin with SELECT, which sqlglot takes for calls."""

    def build(args: list[exp.Expression]) -> exp.Expression:
        if len(args) == 1 and isinstance(args[0], exp.Query | exp.Values):
            return kind(this=args[0])
        return exp.Anonymous(this=name, expressions=args)

    return build


class _NamedCalls:
    """Leaves function calls as they are written: ``exp.Anonymous``, a name and its arguments.

    sqlglot's own classes for functions lose the name (``log10(x)`` becomes ``log(10, x)``) and surplus
    arguments. Functions that make tables, and those with a syntax of their own (EXTRACT, SUBSTRING … FROM),
    keep their classes.
    """

    FUNCTIONS: ClassVar[dict[str, Callable[..., exp.Expression]]] = {
        "EXISTS": _on_query("exists", exp.Exists),
        "SOME": _on_query("some", exp.Any),
        "ALL": _on_query("all", exp.All),
        # Of no arguments it asks for all keys, which exp.Grouping cannot hold.
        "GROUPING": lambda args: exp.GroupingId(expressions=args),
        "GROUPING_ID": lambda args: exp.GroupingId(expressions=args),
    } | {
        name: build
        for name, build in DuckDB.Parser.FUNCTIONS.items()
        if name in ("GENERATE_SERIES", "RANGE", "READ_CSV", "READ_PARQUET", "UNNEST", "EXPLODE", "COLUMNS")
    }


_INTERVAL_TEXT = re.compile(r"\s*-?\d+(\.\d+)?(\s*[a-zA-Z]+)?\s*")


class _WholeIntervals:
    """Keeps the text of an INTERVAL that sqlglot would cut: of ``'1 week ago'`` it keeps one week."""

    def _parse_interval_span(self, this: exp.Expression, parse_function_unit: bool = True) -> exp.Interval:
        if isinstance(this, exp.Literal) and this.is_string and not _INTERVAL_TEXT.fullmatch(this.name):
            return exp.Interval(this=this)
        result: exp.Interval = super()._parse_interval_span(this, parse_function_unit)  # type: ignore[misc]
        return result


class _AnyGroupingKeys:
    """Reads any expression as a key of ROLLUP, CUBE and GROUPING SETS, where sqlglot stops at a comparison; and notes
    their place.
    """

    def _parse_cube_or_rollup(self: Any, with_prefix: bool = False) -> exp.Expression | None:
        word = self._curr
        if with_prefix or word is None or word.token_type not in (TokenType.CUBE, TokenType.ROLLUP):
            found: exp.Expression | None = super()._parse_cube_or_rollup(with_prefix)  # type: ignore[misc]
            return found
        self._advance()
        kind = exp.Cube if word.token_type == TokenType.CUBE else exp.Rollup
        keys = self._parse_wrapped_csv(self._parse_disjunction)
        return kind(expressions=keys).update_positions(word)

    def _parse_grouping_set(self: Any) -> exp.Expression | None:
        found: exp.Expression | None = (
            self._parse_grouping_sets() or self._parse_cube_or_rollup() or self._parse_disjunction()
        )
        return found


class _Frames:
    """Insists on the other end of a frame after BETWEEN, without which sqlglot takes the current row; and reads ``OVER
    (GROUPS …)`` as a frame, where sqlglot takes GROUPS for a window's name."""

    def _parse_id_var(
        self, any_token: bool = True, tokens: Collection[TokenType] | None = None
    ) -> exp.Expression | None:
        parser = cast(Parser, self)
        if tokens is parser.WINDOW_ALIAS_TOKENS and parser._curr.text.upper() == "GROUPS":
            return None
        found: exp.Expression | None = super()._parse_id_var(any_token, tokens)  # type: ignore[misc]
        return found

    def _parse_window_spec(self: Any) -> dict[str, Any]:
        is_between = self._prev.token_type == TokenType.BETWEEN
        found: dict[str, Any] = super()._parse_window_spec()  # type: ignore[misc]
        if is_between and not self._match(TokenType.AND, advance=False):
            self.raise_error("Expecting AND")
        return found


@cache
def _parser_class(dialect: type[Dialect]) -> type[Parser]:
    base: type[Parser] = dialect.parser_class
    own = (_WholeIntervals, _Frames, _AnyGroupingKeys)
    parts = (_NamedCalls, CopyOptions, *own) if dialect is DuckDB else own
    return type(base.__name__, (*parts, base), {})


def parser_of(dialect: Dialect) -> Parser:
    """A parser of the dialect that stops at the first error and keeps what the text says."""
    try:
        return _parser_class(type(dialect))(error_level=ErrorLevel.IMMEDIATE, dialect=dialect)
    except TypeError:  # its classes cannot be extended, so that calls would lose their names
        raise UnsupportedError(
            "the compiled build of sqlglot cannot be used", hint="pip uninstall sqlglotc, which leaves sqlglot itself"
        ) from None


def _statements(sql: str, dialect: Dialect) -> list[exp.Expression]:
    tokens, explained = _tokens(sql, dialect)
    statements: list[exp.Expression] = []
    for number, chunk in enumerate(_chunks(tokens)):
        analyze = explained.get(number)
        if not chunk:
            if analyze is not None:
                raise ParseError("EXPLAIN needs a statement", sql=sql)
            continue
        if len(chunk) == 2 and chunk[0].text.upper() == "RESET":  # no dialect has a tree for it
            statements.append(exp.Command(this="RESET", expression=exp.Literal.string(chunk[1].text)))
            continue
        for tree in parser_of(dialect).parse(_numbered(chunk), sql):
            if not isinstance(tree, exp.Expression):
                continue
            if _is_expression(tree):
                raise _no_statement(sql, chunk[0])
            if analyze is not None:
                tree = exp.Command(this="EXPLAIN", expression=tree, analyze=analyze)
            statements.append(tree)
    return statements


def _is_expression(tree: exp.Expression) -> bool:
    return isinstance(tree, exp.Condition | exp.Alias) and not isinstance(tree, exp.Query)


def _no_statement(sql: str, first: Token) -> ParseError:
    """The error for text that is an expression, such as ``selec`` or ``1 + 1``."""
    return ParseError(
        f'syntax error at or near "{first.text}"',
        position=position_at(sql, first.start, first.end),
        sql=sql,
        hint="a query begins with SELECT, FROM, WITH or VALUES",
    )


def _chunks(tokens: list[Token]) -> list[list[Token]]:
    chunks: list[list[Token]] = [[]]
    for token in tokens:
        if token.token_type == TokenType.SEMICOLON:
            chunks.append([])
        else:
            chunks[-1].append(token)
    return chunks


def _numbered(tokens: list[Token]) -> list[Token]:
    """``?`` as ``$1``, ``$2``, …: a tree does not keep the order in which its parameters stand."""
    if all(t.token_type != TokenType.PLACEHOLDER for t in tokens):
        return tokens
    result: list[Token] = []
    number = 0
    for token in tokens:
        if token.token_type != TokenType.PLACEHOLDER:
            result.append(token)
            continue
        number += 1
        place = (token.line, token.col, token.start, token.end)
        result.append(Token(TokenType.PARAMETER, "$", *place))
        result.append(Token(TokenType.NUMBER, str(number), *place))
    return result


def _tokens(sql: str, dialect: Dialect) -> tuple[list[Token], dict[int, bool]]:
    """The tokens, and which statements (by number) are explained, with or without ANALYZE.

    sqlglot's tokenizer swallows what follows EXPLAIN as one string, so the word is blanked out and the text
    tokenized again: the places of all other tokens stay.
    """
    explained: dict[int, bool] = {}
    text = _without_false_quotes(sql) if isinstance(dialect, DuckDB) else sql
    while True:
        tokens = dialect.tokenize(text)
        if isinstance(dialect, DuckDB):
            tokens = [part for token in tokens for part in _parameter(token, sql)]
        if "explain" not in text.lower():
            return tokens, explained
        found = False
        number, first = 0, True
        for token in tokens:
            if token.token_type == TokenType.SEMICOLON:
                number, first = number + 1, True
                continue
            match = _EXPLAIN.match(text, token.start) if first and token.text.upper() == "EXPLAIN" else None
            first = False
            if match and number not in explained:
                explained[number] = match.group(1) is not None
                text = text[: match.start()] + " " * (match.end() - match.start()) + text[match.end() :]
                found = True
                break
        if not found:
            return tokens, explained


def _without_false_quotes(sql: str) -> str:
    """The text with ``?`` for the ``$`` of parameters: sqlglot takes ``$1+$`` for the beginning of a quoted text."""
    if sql.count("$") < 2:
        return sql
    return _PARAMETER.sub(lambda match: "?" if match["parameter"] else match[0], sql)


def _parameter(token: Token, sql: str) -> tuple[Token, ...]:
    """A token as DuckDB reads it: the ``$`` of a parameter again, and ``?::`` as a parameter and a cast."""
    start, end = token.start, token.end
    if token.token_type == TokenType.PLACEHOLDER and sql[start] == "$":
        return (Token(TokenType.PARAMETER, "$", token.line, token.col, start, end),)
    if token.token_type == TokenType.QDCOLON:
        return (
            Token(TokenType.PLACEHOLDER, "?", token.line, token.col - 2, start, start),
            Token(TokenType.DCOLON, "::", token.line, token.col, start + 1, end),
        )
    return (token,)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps sqlglot from logging that it does not know a statement: we raise instead."""

    def drop(record: logging.LogRecord) -> bool:
        return "unsupported syntax" not in record.getMessage()

    _logger.addFilter(drop)
    try:
        yield
    finally:
        _logger.removeFilter(drop)


def _token_error(sql: str, error: TokenError) -> ParseError:
    # The cause says what is missing and the offset where its text starts: "Missing ' from 1:7".
    match = re.search(r"Missing (\S+) from \d+:(\d+)", str(error.__cause__ or error))
    if match is None:
        return ParseError("the text cannot be split into words", sql=sql)
    start = min(int(match[2]), max(len(sql) - 1, 0))
    return ParseError(f"the closing {match[1]} is missing", position=position_at(sql, start, start), sql=sql)


def _parse_error(sql: str, error: SqlglotParseError) -> ParseError:
    first = error.errors[0] if error.errors else {}
    highlight = str(first.get("highlight") or "").split("\n")[0]
    line, column = first.get("line"), first.get("col")
    position = None
    if isinstance(line, int) and isinstance(column, int):
        # sqlglot gives the column where the token ends.
        position = Position(line, max(1, column - max(len(highlight), 1) + 1), max(len(highlight), 1))
    description = str(first.get("description") or str(error).splitlines()[0]).strip().rstrip(".")
    incomplete = re.match(r"Required keyword: .* missing for <class '.*\.(\w+)'>", description)
    if description == "Invalid expression / Unexpected token":
        message = f'syntax error at or near "{highlight}"'
    elif incomplete:
        message = f"syntax error: {incomplete[1].upper()} is incomplete"
    else:
        message = f"syntax error: {description.partition(' but got <Token')[0]}"
    return ParseError(message, position=position, sql=sql)
