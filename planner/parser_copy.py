"""The options of COPY as DuckDB writes them: sqlglot keeps no places of their names, and reads no negative numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

if TYPE_CHECKING:
    from sqlglot.parser import Parser
else:
    Parser = object  # a part of a parser's class, which is put together with the dialect's own


class CopyOptions(Parser):
    """Options with commas or spaces between them: ``NAME``, ``NAME value``, ``NAME = value``, ``NAME (a, b)``."""

    def _parse_copy_parameters(self) -> list[exp.CopyParameter]:
        options = []
        while self._curr and not self._match(TokenType.R_PAREN, advance=False):
            name = self._parse_var(any_token=True)
            if name is None:
                break
            name.update_positions(self._prev)
            named = self._match(TokenType.EQ)
            option = exp.CopyParameter(this=name)
            if not self._match(TokenType.COMMA, advance=False):
                option.set("expression", self._parse_option_value())
            if named and option.expression is None:
                self.raise_error("Expecting a value")
            options.append(option)
            self._match(TokenType.COMMA)
        return options

    def _parse_option_value(self) -> exp.Expr | None:
        if self._match(TokenType.DASH):
            number = self._parse_number()
            if number is None:
                self.raise_error("Expecting a number")
            return exp.Neg(this=number)
        return self._parse_unquoted_field() or self._parse_bracket()
