"""Progress in a notebook: an output of its own below the cell, updated in place and blank when the query ends."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from executor.progress import Progress
from sqlray.format_table import escape_html
from sqlray.progress_picture import Bar, Picture, clock, picture

if TYPE_CHECKING:
    from IPython.display import DisplayHandle

_MOST_BARS = 16
_PULSE = 2.0  # seconds in which the pulse of a bar goes there and back
_TRACK = "display:inline-block;position:relative;width:12em;height:.5em;border-radius:.25em;background:#8884"
_FILL = "position:absolute;top:0;bottom:0;border-radius:.25em;background:var(--jp-brand-color1,#1976d2)"
_GRID = "display:grid;grid-template-columns:max-content max-content max-content 1fr;gap:0 1em;align-items:center"


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook. IPython is not imported to find out: a kernel has it."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class NotebookDisplay:
    """An output in the notebook's cell.

    There is no form of it but HTML, so that front ends without HTML show nothing.
    """

    interval = 0.2

    def __init__(self) -> None:
        self._handle: DisplayHandle | None = None

    def draw(self, progress: Progress | None, seconds: float) -> None:
        self._show(_html(picture(progress, seconds, _MOST_BARS)))

    def close(self) -> None:
        if self._handle is not None:
            self._show("")
            self._handle = None

    def _show(self, html: str) -> None:
        data = {"text/html": html}
        if self._handle is None:
            from IPython.display import display

            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


def _html(shown: Picture) -> str:
    title = "" if shown.summary is None else f"<div>{escape_html(shown.summary)}</div>"
    rows = "".join(map(_row, shown.bars))
    return f'<div style="font-size:.9em">{title}<div style="{_GRID}">{rows}</div></div>'


def _row(bar: Bar) -> str:
    cells = (escape_html(bar.label), _track(bar), clock(bar.seconds), escape_html(", ".join(bar.facts)))
    return "".join(f"<span>{cell}</span>" for cell in cells)


def _track(bar: Bar) -> str:
    """The bar itself. An animation would start anew with every update, so that a pulse is moved by them."""
    if bar.fraction is not None:
        start, width = 0.0, bar.fraction * 100
    else:
        width = 30.0
        start = (100 - width) * abs(bar.seconds % _PULSE - _PULSE / 2) / (_PULSE / 2)
    return f'<span style="{_TRACK}"><span style="{_FILL};left:{start:.0f}%;width:{width:.0f}%"></span></span>'
