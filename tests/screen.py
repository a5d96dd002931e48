"""What a terminal shows after some text was written to it: enough of one for progress bars."""

from __future__ import annotations

import re

_CODE = re.compile(r"\x1b\[(\??[0-9;]*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n]+)")


class Screen:
    """A terminal whose lines do not wrap. ``lines`` are what it shows, ``cursor`` whether the cursor can be seen."""

    def __init__(self) -> None:
        self.lines = [""]
        self.cursor = True
        self._row = self._column = 0

    def write(self, text: str) -> None:
        for code, kind, start, down, printed in _CODE.findall(text):
            if start:
                self._column = 0
            elif down:
                self._row += 1
                self.lines += [""] * (self._row + 1 - len(self.lines))
            elif printed:
                line = self.lines[self._row].ljust(self._column)
                self.lines[self._row] = line[: self._column] + printed + line[self._column + len(printed) :]
                self._column += len(printed)
            elif kind == "A":
                self._row = max(0, self._row - int(code or 1))
            elif kind == "K" and code == "2":
                self.lines[self._row] = ""
            elif kind in "hl" and code == "?25":
                self.cursor = kind == "h"
            elif kind != "m":
                raise AssertionError(f"a code that this screen does not know: {code}{kind}")

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines)
