"""The one tree: what expressions, logical plans and physical plans have in common.

A node is a record with ``children`` and ``with_children``. Transforms return the *same object* when
nothing changed, and remember nodes by identity, so that a subtree that two parents share is transformed once and
stays shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import is_
from typing import Protocol, Self, TypeVar


class Node(Protocol):
    """Anything with children of its own kind."""

    def children(self) -> tuple[Self, ...]:
        """The direct inputs, left to right."""
        ...

    def with_children(self, children: Sequence[Self]) -> Self:
        """A copy of this node over other inputs."""
        ...


N = TypeVar("N", bound=Node)


def replace_children(node: N, children: Sequence[N]) -> N:
    """``node`` over ``children``, or ``node`` itself when they are the ones it has."""
    old = node.children()
    return node if len(old) == len(children) and all(map(is_, old, children)) else node.with_children(children)


def transform_up(root: N, function: Callable[[N], N], memo: dict[int, tuple[N, N]] | None = None) -> N:
    """Apply ``function`` to every node, inputs first; ``memo`` is what it made of nodes before."""
    return _up(root, function, {} if memo is None else memo)


# The memos hold the node too, so that its id stays taken. These are no closures: one that calls itself is a cycle,
# and keeps all plans of its memo until the garbage collector runs.
def _up(node: N, function: Callable[[N], N], memo: dict[int, tuple[N, N]]) -> N:
    hit = memo.get(id(node))
    if hit is not None:
        return hit[1]
    old = node.children()
    if old:
        new = [_up(c, function, memo) for c in old]
        result = function(node if all(map(is_, old, new)) else node.with_children(new))
    else:
        result = function(node)
    memo[id(node)] = (node, result)
    return result


def transform_down(root: N, function: Callable[[N], N]) -> N:
    """Apply ``function`` to every node before its inputs; the inputs of the result are visited next."""
    return _down(root, function, {})


def _down(node: N, function: Callable[[N], N], memo: dict[int, tuple[N, N]]) -> N:
    hit = memo.get(id(node))
    if hit is not None:
        return hit[1]
    changed = function(node)
    children = changed.children()
    result = replace_children(changed, [_down(c, function, memo) for c in children]) if children else changed
    memo[id(node)] = (node, result)
    return result


def walk(root: N) -> Iterator[N]:
    """Every distinct node, parents before children; a shared subtree is visited once."""
    found: dict[int, N] = {}
    stack = [root]
    while stack:
        node = stack.pop()
        if id(node) not in found:
            found[id(node)] = node
            children = node.children()
            if children:
                stack.extend(children[::-1])
    return iter(found.values())  # trees are small: a list is walked faster than a generator is resumed


def pretty(root: N, line: Callable[[N], str]) -> str:
    """The tree as indented text, one ``line(node)`` a node; a shared subtree is printed once and then named."""
    parents: dict[int, int] = {}
    for node in walk(root):
        for child in node.children():
            parents[id(child)] = parents.get(id(child), 0) + 1
    out: list[str] = []
    shown: dict[int, int] = {}
    waiting = [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        if id(node) in shown:
            out.append("  " * depth + f"(see *{shown[id(node)]})")
            continue
        mark = ""
        if parents.get(id(node), 0) > 1:
            shown[id(node)] = len(shown) + 1
            mark = f"*{shown[id(node)]} "
        out.append("  " * depth + mark + line(node))
        waiting += [(child, depth + 1) for child in reversed(node.children())]
    return "\n".join(out)
