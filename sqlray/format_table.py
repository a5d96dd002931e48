"""Results as aligned tables: the rows that are shown, columns fitted to a width, text and HTML."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import pyarrow as pa

from planner.record import record
from planner.types import is_numeric, type_name
from sqlray.format_values import cut, display_width, one_line, pad, text_values

# A column of text is cut to this before columns are left out; numbers are never cut.
_NARROW = 12
_GAP = "…"


@record
class Preview:
    """The first and last rows of a result, and how many there are."""

    schema: pa.Schema
    head: pa.Table
    tail: pa.Table
    num_rows: int

    @property
    def shown(self) -> int:
        """How many rows are shown."""
        return int(self.head.num_rows + self.tail.num_rows)


@record
class _Column:
    name: str
    type: str
    cells: list[str]
    right: bool
    fixed: bool

    @property
    def width(self) -> int:
        return max(map(display_width, (self.name, self.type, *self.cells)))


def take_preview(schema: pa.Schema, batches: Iterable[pa.RecordBatch], max_rows: int) -> Preview:
    """The rows of a stream to show: all, or the first and last `max_rows` of them (0 for no limit)."""
    head: list[pa.RecordBatch] = []
    tail: deque[pa.RecordBatch] = deque()
    total = tail_rows = 0
    for batch in batches:
        if not max_rows or total < max_rows:
            head.append(batch.slice(0, max_rows - total) if max_rows else batch)
        total += batch.num_rows
        tail.append(batch)
        tail_rows += batch.num_rows
        while tail and tail_rows - tail[0].num_rows >= max_rows // 2:
            tail_rows -= tail.popleft().num_rows
    first = pa.Table.from_batches(head, schema)
    if not max_rows or total <= max_rows:
        return Preview(schema, first, first.slice(0, 0), total)
    below = max_rows // 2
    last = pa.Table.from_batches(list(tail), schema)
    return Preview(schema, first.slice(0, max_rows - below), last.slice(last.num_rows - below), total)


def render_table(preview: Preview, *, max_width: int = 0, null: str = "NULL") -> str:
    """The rows as a table with names and types, at most `max_width` wide (0 for no limit)."""
    if not preview.schema.names:
        return _count(preview.num_rows, "row")
    columns = _columns(preview, null)
    natural = [column.width for column in columns]
    widths = _fit(natural, [column.fixed for column in columns], max_width)
    kept = _keep(widths, max_width)
    if kept is not None:
        left, right = kept
        gap = _Column(_GAP, "", [_GAP] * preview.shown, right=False, fixed=True)
        columns = [*columns[:left], gap, *columns[right:]]
        widths = [*widths[:left], 1, *widths[right:]]
    hidden = 0 if kept is None else kept[1] - kept[0]
    footer = _footer(preview, len(natural), hidden)
    return "\n".join([*_draw(columns, widths, preview), footer])


def _columns(preview: Preview, null: str) -> list[_Column]:
    columns = []
    for index, field in enumerate(preview.schema):
        cells = text_values(preview.head.column(index), null) + text_values(preview.tail.column(index), null)
        numeric = is_numeric(field.type)
        columns.append(
            _Column(
                name=one_line(field.name),
                type=type_name(field.type).lower(),
                cells=cells if numeric else [one_line(cell) for cell in cells],
                right=numeric,
                fixed=numeric or pa.types.is_temporal(field.type),
            )
        )
    return columns


def _fit(natural: list[int], fixed: list[bool], max_width: int) -> list[int]:
    """Column widths within `max_width` as far as cutting the widest columns of text gets them there."""
    room = max_width - _frame(len(natural))
    if not max_width or sum(natural) <= room:
        return natural
    widest = max((width for width, keep in zip(natural, fixed, strict=True) if not keep), default=_NARROW)
    for cap in range(widest, _NARROW - 1, -1):
        widths = [width if keep else min(width, cap) for width, keep in zip(natural, fixed, strict=True)]
        if sum(widths) <= room:
            break
    else:
        return [width if keep else min(width, _NARROW) for width, keep in zip(natural, fixed, strict=True)]
    return widths


def _frame(columns: int) -> int:
    return 3 * columns + 1


def _keep(widths: list[int], max_width: int) -> tuple[int, int] | None:
    """Which columns are left out, from and to, if they do not all fit: those in the middle."""
    if not max_width or sum(widths) + _frame(len(widths)) <= max_width:
        return None
    room = max_width - _frame(1) - 1
    left, right = 0, len(widths)
    while left < right:
        at_left = left <= len(widths) - right
        width = widths[left if at_left else right - 1] + 3
        if width > room and left:  # the first column is always shown
            break
        room -= width
        left, right = (left + 1, right) if at_left else (left, right - 1)
    return (left, right) if left < right else None


def _draw(columns: list[_Column], widths: list[int], preview: Preview) -> list[str]:
    def rule(start: str, middle: str, end: str) -> str:
        return start + middle.join("─" * (width + 2) for width in widths) + end

    def row(cells: list[str], *, center: bool = False) -> str:
        parts = []
        for cell, column, width in zip(cells, columns, widths, strict=True):
            text = cut(cell, width)
            if center:
                text = " " * ((width - display_width(text)) // 2) + text
            parts.append(pad(text, width, right=column.right and not center))
        return "│ " + " │ ".join(parts) + " │"

    lines = [rule("┌", "┬", "┐"), row([column.name for column in columns], center=True)]
    lines += [row([column.type for column in columns], center=True), rule("├", "┼", "┤")]
    for index in range(preview.shown):
        if index == preview.head.num_rows:
            lines.append(row(["·"] * len(columns), center=True))
        lines.append(row([column.cells[index] for column in columns]))
    return [*lines, rule("└", "┴", "┘")]


def _footer(preview: Preview, columns: int, hidden: int) -> str:
    rows = _count(preview.num_rows, "row")
    if preview.shown < preview.num_rows:
        rows += f" ({preview.shown} shown)"
    if hidden:
        rows += f", {_count(columns, 'column')} ({columns - hidden} shown)"
    return rows


def _count(number: int, unit: str) -> str:
    return f"{number:,} {unit}{'' if number == 1 else 's'}"


def render_html(preview: Preview, *, null: str = "NULL") -> str:
    """The rows as an HTML table, for notebooks."""
    if not preview.schema.names:
        return f"<p>{_count(preview.num_rows, 'row')}</p>"
    columns = _columns(preview, null)
    head = "".join(
        f'<th style="text-align:{_align(column)}">{escape_html(column.name)}'
        f'<br><small style="font-weight:normal">{escape_html(column.type)}</small></th>'
        for column in columns
    )
    body = []
    for index in range(preview.shown):
        if index == preview.head.num_rows:
            body.append("<tr>" + '<td style="text-align:center">⋮</td>' * len(columns) + "</tr>")
        cells = (
            f'<td style="text-align:{_align(column)}">{escape_html(column.cells[index])}</td>' for column in columns
        )
        body.append(f"<tr>{''.join(cells)}</tr>")
    footer = f"<p><small>{_footer(preview, len(columns), 0)}</small></p>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>{footer}"


def escape_html(text: str) -> str:
    """The text as HTML shows it."""
    # html.escape() does the same, but its module takes milliseconds to import
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _align(column: _Column) -> str:
    return "right" if column.right else "left"
