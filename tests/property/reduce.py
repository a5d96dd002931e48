"""Shrinks a failing query: cuts parts out of its syntax tree as long as it still fails in the same way."""

import time
from collections.abc import Callable, Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

_CLAUSES = ("where", "having", "order", "limit", "offset", "distinct", "group", "with_", "with", "qualify", "windows")
_LISTS = ("expressions", "joins", "ifs", "windows")


def reduce_query(sql: str, fails: Callable[[str], bool], seconds: float = 20.0) -> str:
    """The shortest query found within the time that `fails`; the query itself if nothing can go."""
    deadline = time.monotonic() + seconds
    best = sql
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
        if not fails(tree.sql(dialect="duckdb")):
            return sql
    except SqlglotError:
        return sql
    best = tree.sql(dialect="duckdb")
    improved = True
    while improved and time.monotonic() < deadline:
        improved = False
        for candidate in _candidates(tree):
            if time.monotonic() > deadline:
                break
            try:
                text = candidate.sql(dialect="duckdb")
            except (SqlglotError, AttributeError, TypeError, ValueError):
                continue
            if len(text) < len(best) and fails(text):
                tree, best, improved = candidate, text, True
                break
    return best


def _candidates(tree: exp.Expr) -> Iterator[exp.Expr]:
    """Copies of the tree with one part cut out, the largest parts first."""
    count = sum(1 for _ in tree.walk())
    for at in range(count):
        node = _nth(tree, at)
        for edit in _edits(node):
            copy = tree.copy()
            changed = edit(_nth(copy, at))
            if changed is not None:
                yield changed if at == 0 else copy


def _nth(tree: exp.Expr, at: int) -> exp.Expr:
    for place, node in enumerate(tree.walk()):
        if place == at:
            return node
    raise IndexError(at)


Edit = Callable[[exp.Expr], exp.Expr | None]


def _edits(node: exp.Expr) -> Iterator[Edit]:
    if isinstance(node, exp.SetOperation):
        yield _replace_by("this")
        yield _replace_by("expression")
    for name in _CLAUSES:
        if node.args.get(name) is not None and isinstance(node, exp.Query):
            yield _drop(name)
    for name in _LISTS:
        items = node.args.get(name)
        if isinstance(items, list):
            enough = len(items) > (0 if name == "joins" else 1)
            for item in range(len(items) if enough else 0):
                yield _drop_item(name, item)
    if isinstance(node, exp.Join):
        for name in ("side", "kind", "on"):
            if node.args.get(name):
                yield _drop(name)
    if isinstance(node, exp.Window):
        for name in ("partition_by", "order", "spec", "alias"):
            if node.args.get(name):
                yield _drop(name)
        for item in range(len(node.args.get("partition_by") or [])):
            yield _drop_item("partition_by", item)
    if isinstance(node, exp.WindowSpec) and node.args.get("exclude"):
        yield _drop("exclude")
    if isinstance(node, exp.Filter | exp.IgnoreNulls | exp.RespectNulls | exp.Ordered):
        yield _replace_by("this")
    if isinstance(node, exp.Case) and node.args.get("default") is not None:
        yield _drop("default")
    if isinstance(node, exp.Condition) and not isinstance(node, exp.Literal | exp.Column | exp.Identifier | exp.Null):
        for name, child in node.args.items():
            if isinstance(child, exp.Condition):
                yield _replace_by(name)
            if isinstance(child, list):
                yield from (_replace_by(name, item) for item, c in enumerate(child) if isinstance(c, exp.Condition))
        if not isinstance(node.parent, exp.Join | exp.Where | exp.Having):
            yield _become_null


def _drop(name: str) -> Edit:
    def edit(node: exp.Expr) -> exp.Expr | None:
        node.set(name, None)
        return node

    return edit


def _drop_item(name: str, item: int) -> Edit:
    def edit(node: exp.Expr) -> exp.Expr | None:
        items = list(node.args[name])
        del items[item]
        node.set(name, items)
        return node

    return edit


def _replace_by(name: str, item: int | None = None) -> Edit:
    def edit(node: exp.Expr) -> exp.Expr | None:
        child: exp.Expr = node.args[name] if item is None else node.args[name][item]
        if node.parent is None:
            whole: exp.Expr = child.copy()
            return whole if isinstance(whole, exp.Query) else None
        node.replace(child.copy())
        return child

    return edit


def _become_null(node: exp.Expr) -> exp.Expr | None:
    if node.parent is None:
        return None
    node.replace(exp.null())
    return node
