"""The dot commands of the shell and of scripts: one table of names, help and functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pyarrow as pa

from planner.errors import SqlrayError, nearest
from planner.record import record
from planner.types import type_name
from sqlray.console_run import run_cancellable
from sqlray.format import BINARY_FORMATS, FORMATS
from sqlray.options import parse_bool
from sqlray.paths import register_path
from sqlray.result import Result

if TYPE_CHECKING:
    from sqlray.console import Console


class Quit(Exception):
    """Raised by `.quit`: the shell ends."""


@record
class Command:
    """A dot command: how it is written, what it does, and the function that does it."""

    usage: str
    help: str
    run: Callable[[Console, str], None]


def run_command(console: Console, text: str) -> None:
    """Run a line such as `.schema orders`."""
    name, _, argument = text.strip().rstrip(";").rstrip().partition(" ")
    command = COMMANDS.get(name)
    if command is None:
        close = nearest(name, list(COMMANDS))
        raise SqlrayError(
            f"there is no command '{name}'",
            hint=f"did you mean '{close}'?" if close else ".help lists the commands",
        )
    command.run(console, argument.strip())


def _tables(console: Console, argument: str) -> None:
    names = sorted(console.session.tables())
    if not names:
        console.show("no tables: .load PATH registers a file, or query it as from 'file.parquet'")
        return
    schemas = [console.session.schema(name) for name in names]
    columns = [", ".join(schema.names) for schema in schemas]
    _show_table(console, {"table": names, "columns": columns})


def _schema(console: Console, argument: str) -> None:
    tables = console.session.tables()
    if argument and argument not in tables:
        close = nearest(argument, tables)
        raise SqlrayError(f"there is no table '{argument}'", hint=f"did you mean '{close}'?" if close else None)
    for name in [argument] if argument else sorted(tables):
        schema = console.session.schema(name)
        console.show(f"{name} (")
        width = max((len(column) for column in schema.names), default=0)
        lines = [f"    {field.name:{width}} {type_name(field.type).lower()}" for field in schema]
        console.show(",\n".join(lines) + "\n)")


def _timer(console: Console, argument: str) -> None:
    console.session.set_option("timer", _on_off(argument))
    console.show(f"timer is {argument}")


def _on_off(argument: str) -> bool:
    try:
        return parse_bool(argument)
    except ValueError:
        raise SqlrayError("say on or off, as in '.timer off'") from None


def _format(console: Console, argument: str) -> None:
    if not argument:
        console.show(f"format is {console.form}; formats: {', '.join(FORMATS)}")
    elif argument not in FORMATS:
        raise SqlrayError(f"there is no format '{argument}'", hint="formats: " + ", ".join(FORMATS))
    elif argument in BINARY_FORMATS and console.interactive:
        raise SqlrayError(
            f"'{argument}' is binary and would garble the terminal",
            hint=f'sqlray -c "select …" --format {argument} -o FILE writes a file',
        )
    else:
        console.form = argument


def _explain(console: Console, argument: str) -> None:
    first, _, rest = argument.partition(" ")
    analyze = first.lower() == "analyze"
    query = (rest.strip() if analyze else argument) or console.last_query
    if query is None:
        raise SqlrayError("there is no query to explain", hint="write '.explain select …'")
    text: list[str] = []
    run_cancellable(
        console.session,
        lambda: text.append(console.session.sql(query).explain(analyze)),
        progress=analyze and console.shows_progress(),
    )
    console.show(text[0])


def _read(console: Console, argument: str) -> None:
    if not argument:
        raise SqlrayError("say which file to read, as in '.read script.sql'")
    console.run_file(_unquoted(argument))


def _load(console: Console, argument: str) -> None:
    if not argument:
        raise SqlrayError("say which file to load, as in '.load data/orders.parquet'")
    name = register_path(console.session, _unquoted(argument))
    console.show(f"table {name} ({', '.join(console.session.schema(name).names)})")


def _unquoted(path: str) -> str:
    return path[1:-1] if len(path) > 1 and path[0] == path[-1] and path[0] in "'\"" else path


def _options(console: Console, argument: str) -> None:
    rows = console.session.options()
    labels = ("option", "value", "default", "help")
    _show_table(console, {label: [row[i] for row in rows] for i, label in enumerate(labels)})


def _set(console: Console, argument: str) -> None:
    name, _, value = argument.replace("=", " ", 1).partition(" ")
    if not name or not value.strip():
        raise SqlrayError("say what to set, as in '.set memory_limit 2GB'", hint=".options lists all options")
    console.session.set_option(name, _unquoted(value.strip()))


def _help(console: Console, argument: str) -> None:
    width = max(len(command.usage) for command in COMMANDS.values())
    console.show("\n".join(f"{command.usage:{width}}  {command.help}" for command in COMMANDS.values()))
    console.show("\nAnything else is SQL; a semicolon ends a statement. Ctrl-C cancels a query, Ctrl-D leaves.")


def _quit(console: Console, argument: str) -> None:
    raise Quit


def _show_table(console: Console, columns: dict[str, list[str]]) -> None:
    table = pa.table(columns)
    console.show_result(Result(table.schema, lambda: iter(table.to_batches()), lambda analyze: ""))


COMMANDS = {
    ".tables": Command(".tables", "the tables and their columns", _tables),
    ".schema": Command(".schema [TABLE]", "columns and types of a table, or of all", _schema),
    ".load": Command(".load [NAME=]PATH", "register a file, directory or glob as a table", _load),
    ".read": Command(".read FILE", "run the statements of a file", _read),
    ".explain": Command(".explain [analyze] [QUERY]", "the plan of a query, or of the last one", _explain),
    ".format": Command(".format [NAME]", "how results are written: table, csv, json, markdown", _format),
    ".timer": Command(".timer on|off", "whether the time of each statement is shown", _timer),
    ".options": Command(".options", "all options with their values", _options),
    ".set": Command(".set NAME VALUE", "set an option", _set),
    ".help": Command(".help", "this list", _help),
    ".quit": Command(".quit", "leave the shell", _quit),
}
