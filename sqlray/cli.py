"""The `sqlray` command: queries from the command line, scripts, pipes, the shell, and TPC-H runs."""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import sys
from collections.abc import Callable, Sequence
from typing import BinaryIO

from planner.errors import BindError, CancelledError, SqlrayError
from sqlray.console import Console, error_text
from sqlray.format import BINARY_FORMATS, FORMATS, format_of, whole_file
from sqlray.paths import register_path
from sqlray.ray_option import add_ray, connect
from sqlray.session import Session
from sqlray.shell_commands import Quit
from sqlray.version import __version__

_EXAMPLES = """\
examples:
  sqlray                                       the interactive shell
  sqlray orders.parquet                        the shell, with the table orders
  sqlray -c "select count(*) from 'orders.parquet'"
  sqlray orders.csv -c "select * from orders" -o orders.parquet
  echo "select 1" | sqlray --format json
  sqlray --ray auto orders.parquet             the shell, on the Ray cluster that runs here
  sqlray tpch run --scale 1 --compare duckdb   TPC-H; see sqlray tpch --help
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The entry point; returns the exit status."""
    gc.freeze()  # what was imported stays: collections need not look at it again
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["tpch"]:
        from sqlray.tpch import main as tpch

        return guarded(lambda: tpch(arguments[1:]))
    options = _parser().parse_args(arguments)
    return guarded(lambda: _run(options))


def guarded(action: Callable[[], int]) -> int:
    """Run `action`; whatever goes wrong becomes a message and an exit status."""
    try:
        return action()
    except Quit:
        return 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader went away, as `head` does. Python would complain again when it flushes at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except CancelledError as error:
        print(error_text(error, color=sys.stderr.isatty()), file=sys.stderr)
        return 130
    except Exception as error:
        if not isinstance(error, SqlrayError) and os.environ.get("SQLRAY_DEBUG"):
            raise
        print(error_text(error, color=sys.stderr.isatty()), file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sqlray",
        description="SQL over files and data frames, in one process or on a Ray cluster.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="[NAME=]PATH",
        help="a file, directory or glob that becomes a table, named after its stem unless NAME is given",
    )
    parser.add_argument(
        "-c",
        dest="scripts",
        action="append",
        metavar="SQL",
        type=lambda text: ("sql", text),
        help="run SQL and exit; may be repeated",
    )
    parser.add_argument(
        "-f",
        dest="scripts",
        action="append",
        metavar="FILE",
        type=lambda path: ("file", path),
        help="run the statements of a file and exit; may be repeated",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="how results are written (default: by the name given to -o, or table)",
    )
    parser.add_argument("-o", dest="output", metavar="FILE", help="write results to a file, whole or not at all")
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set an option, such as memory_limit=2GB; '.options' in the shell lists them",
    )
    add_ray(parser)
    parser.add_argument("--version", action="version", version=f"sqlray {__version__}")
    return parser


def _run(options: argparse.Namespace) -> int:
    form = options.format or (format_of(options.output) if options.output else None) or "table"
    with connect(options.ray) as session:
        for setting in options.settings:
            name, separator, value = setting.partition("=")
            if not separator:
                raise BindError(f"--set takes NAME=VALUE, not '{setting}'")
            session.set_option(name, value)
        for path in options.paths:
            register_path(session, path)
        if options.output:
            with whole_file(options.output) as out:
                _run_scripts(session, options.scripts, out, form)
        elif not options.scripts and sys.stdin.isatty():
            from sqlray.shell import run_shell

            run_shell(session, form)
        else:
            if form in BINARY_FORMATS and sys.stdout.isatty():
                raise SqlrayError(
                    f"{form} is binary and would garble the terminal", hint="write it to a file with -o FILE"
                )
            _run_scripts(session, options.scripts, sys.stdout.buffer, form)
            sys.stdout.flush()
    return 0


def _run_scripts(session: Session, scripts: list[tuple[str, str]] | None, out: BinaryIO, form: str) -> None:
    console = Console(session, out, form)
    with contextlib.suppress(Quit):
        for kind, text in scripts or [("sql", sys.stdin.read())]:
            if kind == "file" and text != "-":
                console.run_file(text)
            else:
                console.run_script(sys.stdin.read() if kind == "file" else text)


if __name__ == "__main__":
    sys.exit(main())
