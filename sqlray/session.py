"""Session: tables, options, and ``sql()`` from text to Result."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType

import pyarrow as pa

from executor.cancellation import Cancellation
from executor.progress import QueryProgress
from executor.runners.backend import Backend
from executor.runners.local import LocalBackend
from executor.sources.base import Source
from executor.sources.files import open_files, snapshot
from executor.sources.memory import memory_table
from executor.sources.parquet import FileKey
from planner.binder import BindContext, bind
from planner.catalog import Catalog, Table, View
from planner.errors import BindError, SqlrayError, UnsupportedError
from planner.functions import scalar_names
from planner.functions_aggregate import aggregate_names
from planner.functions_window import window_names
from planner.parser import parse
from planner.record import record
from planner.statements import Query
from sqlray import commands, pipeline
from sqlray.options import OptionRow, Options
from sqlray.plan_cache import Parameters, PlanCache, Surroundings, plan_key
from sqlray.progress import Watch, find_display
from sqlray.result import Result
from sqlray.variables import as_dataset, caller_frame, find_variable


@record
class RegisteredFiles:
    """The files of a registered table as they were when ``table`` was opened."""

    paths: str | list[str]
    files: tuple[FileKey, ...]
    table: Source


class Session:
    """Named tables, options, and queries over them.

    A session may be used from several threads. Tables are immutable: a query sees those of the moment it was made.

    Args:
        backend: where queries run; this process by default.
        options: values of options by name, see ``Session.options()``.
    """

    def __init__(self, backend: Backend | None = None, /, **options: object) -> None:
        self._backend = backend or LocalBackend()
        self._options = Options()
        self._catalog = Catalog()
        self._files: dict[str, RegisteredFiles] = {}
        self._plans = PlanCache()
        self._running: set[Cancellation] = set()
        self._lock = threading.Lock()
        self.watch: Watch | None = None  # the shell's, over whole statements; else a query's own shows its progress
        for name, value in options.items():
            self.set_option(name, value)

    def sql(
        self, query: str, params: Parameters = None, *, dialect: str | None = None, **tables: object
    ) -> Result:
        """Parse, bind and plan a query at once, and run it when its rows are first asked for.

        Statements that change something (CREATE, INSERT, DROP, SET, …) run at once. Of several statements separated by
        semicolons all run, and the last one's result is returned.

        Args:
            query: SQL. A table's name is looked for among ``tables``, the session's tables and views, and the variables
                where ``sql`` was called; a quoted path (``from 'x.parquet'``) is a table.
            params: values for ``?`` and ``$1`` (a sequence) or for ``$name`` (a mapping).
            dialect: the SQL dialect of the query, by default the option ``dialect``.
            tables: tables for this query alone.

        Raises:
            ParseError: the text is not SQL.
            BindError: it does not fit the tables.
            UnsupportedError: it needs something that sqlray cannot do yet.
            ExecutionError: a statement that runs at once failed.
        """
        options = self._options  # another thread may set others meanwhile
        dialect = dialect or options.dialect
        frame = caller_frame()
        extra = {name.lower(): self._source(name, value) for name, value in tables.items()}

        def find(name: str) -> Table | View | None:
            return extra.get(name.lower()) or self._entry(name) or find_variable(name, frame)

        try:
            key = plan_key(query, dialect, params, options)
            kept = self._plans.get(key, find)
            if kept is not None:
                planned = pipeline.plan_again(kept)
                if planned is not kept:
                    self._plans.renew(key, kept, planned)
                return self._result(planned)
            result: Result | None = None
            statements = parse(query, dialect)
            for syntax in statements:
                # Every query but the last has to run now: nobody will ask for its rows.
                if result is not None and result.columns:
                    result.to_arrow()
                around = Surroundings(find)
                statement = bind(syntax, self._context(query, dialect, params, around, extra))
                if isinstance(statement, Query) and len(statements) == 1:
                    planned = self._plan(statement, options)
                    self._plans.put(key, planned, around, self._catalog)
                    return self._result(planned)
                result = commands.execute(statement, self)
        except SqlrayError as error:
            if error.position is not None and error.sql is None:
                error.sql = query
            raise
        finally:
            self._plans.sweep(self._catalog)
        return result if result is not None else Result(pa.schema([]), lambda: iter(()), lambda _: "", "")

    def register(self, name: str, source: object) -> None:
        """Give a name to a source of rows, in place of what had that name.

        Args:
            name: the table's name.
            source: a path, glob, directory, URL, or list of paths; an Arrow table or reader, a Polars or pandas frame,
                a Ray Dataset, a list of dicts, a dict of columns, or anything with ``__arrow_c_stream__``.

        Raises:
            BindError: nothing is there, or it is not a source of rows.
            ExecutionError: a file cannot be read.
        """
        paths = _paths(source)
        files = None if paths is None else snapshot(paths)  # before opening: a later change is seen as one
        table = self._source(name, source)
        with self._lock:
            self._catalog.put(name, table)
            if paths is not None and files is not None:
                self._files[name.lower()] = RegisteredFiles(paths, files, table)
        self._plans.sweep(self._catalog)

    def unregister(self, name: str) -> None:
        """Forget a table or view.

        Raises:
            BindError: there is none of that name.
        """
        with self._lock:
            self._catalog.drop(name)
        self._plans.sweep(self._catalog)

    def tables(self) -> list[str]:
        """The names of the session's tables and views."""
        return self._catalog.names()

    def schema(self, name: str) -> pa.Schema:
        """The columns of a table or view.

        Raises:
            BindError: there is none of that name.
        """
        entry = self._catalog.get(name)
        if entry is None:
            raise self._catalog.unknown(name)
        if isinstance(entry, View):
            quoted = '"' + name.replace('"', '""') + '"'
            return self.sql(f"select * from {quoted} limit 0", dialect="duckdb").schema
        return entry.schema

    def functions(self) -> list[str]:
        """The names of all functions that queries may call."""
        return sorted({*scalar_names(), *aggregate_names(), *window_names()})

    def set_option(self, name: str, value: object) -> None:
        """Set an option.

        Raises:
            BindError: there is no such option, or the value does not fit it.
        """
        self._options = self._options.set(name, value)
        self._plans.shrink(self._options.plan_cache_size)

    def reset_option(self, name: str | None = None) -> None:
        """Set an option, or every one, to its default."""
        self._options = self._options.reset(name)
        self._plans.shrink(self._options.plan_cache_size)

    def option(self, name: str) -> object:
        """The value of an option."""
        return self._options.get(name)

    def options(self) -> list[OptionRow]:
        """Every option: name, value, default and one line of help."""
        return self._options.describe()

    def cancel(self) -> None:
        """Cancel the queries of this session that are running; callable from any thread or a signal handler."""
        for cancellation in list(self._running):
            cancellation.cancel()

    def close(self) -> None:
        """Cancel what is running, forget all tables, and stop what the session started. A session that runs queries in
        this process can be used again."""
        self.cancel()
        self._catalog = Catalog()
        self._plans.clear()
        self._backend.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        names = self.tables()
        shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        return f"<sqlray.Session: {len(names)} tables{': ' + shown if names else ''}>"

    def _entry(self, name: str) -> Table | View | None:
        """A named table or view. Files that were written anew, added or removed since are opened again."""
        entry = self._catalog.get(name)
        known = self._files.get(name.lower())
        if entry is None or known is None or known.table is not entry:
            return entry
        now = snapshot(known.paths)
        if now != known.files:
            entry = open_files(known.paths, name=entry.name)
            with self._lock:
                self._catalog.put(entry.name, entry)
                self._files[name.lower()] = RegisteredFiles(known.paths, now, entry)
        return entry

    def _source(self, name: str, source: object) -> Source:
        paths = _paths(source)
        if paths is not None:
            return open_files(paths, name=name)
        if isinstance(source, Source):
            return source
        dataset = as_dataset(name, source)
        if dataset is not None:
            return dataset
        try:
            return memory_table(name, source)
        except (TypeError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise BindError(
                f"cannot make a table of {name!r}: {error}",
                hint="pass a path, an Arrow table, a pandas or Polars frame, or a list of dicts",
            ) from None

    def _context(
        self,
        query: str,
        dialect: str,
        params: Parameters,
        around: Surroundings,
        extra: Iterable[str],
    ) -> BindContext:
        return BindContext(
            sql=query,
            dialect=dialect,
            lookup=around.lookup,
            open_path=around.open_path,
            parameters=params,
            now=around.now,
            table_names=lambda: [*self._catalog.names(), *extra],
        )

    @property
    def catalog(self) -> Catalog:
        """The named tables and views."""
        return self._catalog

    @property
    def lock(self) -> AbstractContextManager[bool | None]:
        """Held while a named table is exchanged for one that follows from it."""
        return self._lock

    @contextmanager
    def _cancellable(self) -> Iterator[Cancellation]:
        """What ``cancel`` sets while a query runs."""
        cancellation = Cancellation()
        self._running.add(cancellation)
        try:
            yield cancellation
        finally:
            self._running.discard(cancellation)

    @contextmanager
    def _progress(self, shown: bool) -> Iterator[QueryProgress]:
        """The progress of a query that is about to run; ``shown`` where the options say, if nobody else shows it."""
        progress = QueryProgress()
        watch = self.watch
        display = find_display(self._options.progress) if shown and watch is None else None
        if display is not None:
            with Watch(display) as own:
                own.follow(progress)
                yield progress
            return
        if watch is not None:
            watch.follow(progress)
        yield progress

    def run_query(self, query: Query) -> Result:
        """Plan a bound query; it runs when the Result is asked for rows."""
        return self._result(self._plan(query, self._options))

    def _plan(self, query: Query, options: Options) -> pipeline.PlannedQuery:
        return pipeline.plan(query.plan, query.names, options, self._backend)

    def _result(self, planned: pipeline.PlannedQuery) -> Result:
        """What a planned query gives when it is asked for rows."""

        def run(shown: bool = False) -> Iterator[pa.RecordBatch]:
            with self._cancellable() as cancellation, self._progress(shown) as progress:
                yield from planned.batches(planned.execution(cancellation, progress))

        def explain(analyze: bool) -> str:
            with self._progress(shown=analyze) as progress:
                return planned.explain(analyze, progress)

        def dataset() -> object | None:
            with self._cancellable() as cancellation, self._progress(shown=True) as progress:
                return self._backend.dataset(planned.execution(cancellation, progress), planned.schema)

        return Result(planned.schema, run, explain, options=self._options, watched=lambda: run(True), dataset=dataset)


def _paths(source: object) -> str | list[str] | None:
    """A source that is a path or a list of paths, as text; None for any other."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    if isinstance(source, (list, tuple)) and source and all(isinstance(s, (str, os.PathLike)) for s in source):
        return [os.fspath(s) for s in source]
    return None


def connect(target: str = "local", *, address: str | None = None, **options: object) -> Session:
    """A new session.

    Args:
        target: "local" runs queries in this process, with nothing to start; "ray" on a Ray cluster.
        address: the cluster's, such as ``10.0.0.1:6379`` or ``ray://head:10001``. By default the one that this process
            is connected to, that RAY_ADDRESS names, or that runs on this machine; else one is started on this machine
            and stopped with the session.
        options: values of options by name.

    Raises:
        UnsupportedError: there is no runner of that name.
        ExecutionError: there is no cluster at ``address``.
    """
    match target:
        case "local":
            if address is not None:
                raise UnsupportedError("only a cluster has an address", hint='sqlray.connect("ray", address=…)')
            return Session(**options)
        case "ray":
            from executor.runners.ray.backend import RayBackend

            return Session(RayBackend(address), **options)
        case _:
            raise UnsupportedError(f"cannot connect to {target!r}", hint='sqlray.connect() or sqlray.connect("ray")')


_default: Session | None = None
_default_lock = threading.Lock()


def default_session() -> Session:
    """The session that ``sqlray.sql`` uses, made when it is first needed."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Session()
        return _default


def sql(query: str, params: Parameters = None, *, dialect: str | None = None, **tables: object) -> Result:
    """``Session.sql`` on the default session."""
    return default_session().sql(query, params, dialect=dialect, **tables)
