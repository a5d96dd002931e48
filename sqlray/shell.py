"""The interactive shell."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.filters import completion_is_selected, is_searching
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import PygmentsLexer
from prompt_toolkit.styles import Style
from pygments.lexers.sql import SqlLexer

from planner.errors import SqlrayError
from sqlray.console import Console, error_text
from sqlray.session import Session
from sqlray.shell_commands import Quit
from sqlray.shell_completion import SqlCompleter
from sqlray.statements import is_complete, split_statements
from sqlray.version import __version__

_PROMPT = "sqlray> "
_CONTINUATION = "   ...> "

# Readable on a light and on a dark background.
_STYLE = Style.from_dict(
    {
        "prompt": "ansicyan bold",
        "pygments.keyword": "ansiblue bold",
        "pygments.name.builtin": "ansicyan",
        "pygments.literal.string": "ansigreen",
        "pygments.literal.string.single": "ansigreen",
        "pygments.literal.string.symbol": "",
        "pygments.literal.number": "ansimagenta",
        "pygments.comment": "ansibrightblack italic",
        "pygments.operator": "",
    }
)


def run_shell(session: Session, form: str) -> None:
    """Read statements from the terminal and run them until the user leaves."""
    console = Console(session, sys.stdout.buffer, form, interactive=True)
    prompt = _prompt(session)
    print(f"sqlray {__version__} · end a statement with ; · .help lists commands · Ctrl-D leaves")
    if tables := session.tables():
        print(f"tables: {', '.join(sorted(tables))}")
    while True:
        try:
            text = prompt.prompt([("class:prompt", _PROMPT)], prompt_continuation=[("class:prompt", _CONTINUATION)])
        except KeyboardInterrupt:  # Ctrl-C at the prompt drops what was typed
            continue
        except EOFError:
            return
        try:
            _run(console, text)
        except Quit:
            return


def _run(console: Console, text: str) -> None:
    """Run what was typed; an error is shown and ends it, but not the shell."""
    color = sys.stdout.isatty()
    for statement in split_statements(text):
        try:
            console.run_statement(statement)
        except KeyboardInterrupt:
            print("stopped waiting; the query ends in the background")
            return
        except SqlrayError as error:
            print(error_text(statement.place(error, text), color=color))
            return
        except Quit:
            raise
        except Exception as error:  # a defect must not cost the user the session
            if os.environ.get("SQLRAY_DEBUG"):
                raise
            print(error_text(error, color=color))
            return


def _prompt(session: Session) -> PromptSession[str]:
    return PromptSession(
        history=_history(),
        lexer=PygmentsLexer(SqlLexer),
        style=_STYLE,
        completer=SqlCompleter(session),
        complete_while_typing=False,
        auto_suggest=AutoSuggestFromHistory(),
        multiline=True,
        key_bindings=_keys(),
        enable_open_in_editor=True,
    )


def _history() -> History:
    """The statements of earlier sessions: in ~/.sqlray_history, or where SQLRAY_HISTORY says."""
    path = Path(os.environ.get("SQLRAY_HISTORY") or Path.home() / ".sqlray_history")
    try:
        with path.open("ab"):
            pass
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(path))


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter", filter=~is_searching & ~completion_is_selected)
    def enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if is_complete(buffer.text) and not buffer.document.text_after_cursor.strip():
            buffer.validate_and_handle()
        else:
            buffer.newline(copy_margin=True)

    @keys.add("enter", filter=completion_is_selected)
    def accept(event: KeyPressEvent) -> None:
        event.current_buffer.complete_state = None

    @keys.add("escape", "enter")
    def run_now(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    return keys
