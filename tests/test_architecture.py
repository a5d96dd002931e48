"""The house keeps its shape: who imports whom, what loads when, and what the documents name exists."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("planner", "executor", "sqlray", "tpch_queries")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

# First-party packages that each package may import.
FIRST_PARTY: dict[str, frozenset[str]] = {
    "planner": frozenset({"planner"}),
    "executor": frozenset({"planner", "executor"}),
    "sqlray": frozenset({"planner", "executor", "sqlray", "tpch_queries"}),
    "tpch_queries": frozenset({"tpch_queries"}),
}
# Third-party packages that each package may import at all, besides the standard library.
THIRD_PARTY: dict[str, frozenset[str]] = {
    "planner": frozenset({"pyarrow", "numpy", "sqlglot"}),
    "executor": frozenset({"pyarrow", "numpy", "polars", "pandas", "ray", "cudf_polars", "pylibcudf"}),
    "sqlray": frozenset(
        {
            "pyarrow",
            "numpy",
            "polars",
            "pandas",
            "duckdb",
            "rich",
            "prompt_toolkit",
            "pygments",
            "tpchgen_cli",
            "IPython",
        }
    ),
    "tpch_queries": frozenset(),
}
# Only these files of the planner know sqlglot.
SQLGLOT_FILES = re.compile(r"planner/(parser|binder)[a-z_]*\.py|planner/binder/.*\.py")
# And only these of the executor know ray: not those that run in its workers.
RAY_FILES = re.compile(r"executor/runners/ray/[a-z_]+\.py")
# What may be imported inside a function: optional or heavy packages, our modules that import one on top, and
# the command's parts that most calls of it do not need.
LAZY = frozenset(
    {"ray", "pandas", "duckdb", "prompt_toolkit", "rich", "pygments", "polars", "tpchgen_cli", "IPython"}
    | {"cudf_polars", "pylibcudf"}
    | {"resource"}  # only on Unix
)
LAZY_PARTS = frozenset({"sqlray.shell", "sqlray.tpch"})


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _targets(node: ast.AST) -> list[str]:
    """The modules that an import statement names; nothing for other nodes."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), level=0, names=names):
            return [module, *(f"{module}.{alias.name}" for alias in names)]
    return []


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        yield from _targets(node)[:1]


def _lazy_imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The imports inside functions, with their line."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                for name in _targets(node)[:1]:
                    yield node.lineno, name  # type: ignore[attr-defined]


@cache
def _loads_heavy(module: str) -> bool:
    """Whether one of our modules imports a lazy package when it is imported."""
    base = ROOT / Path(*module.split("."))
    path = base.with_suffix(".py") if base.with_suffix(".py").exists() else base / "__init__.py"
    if not path.exists():
        return False
    for node in _tree(path).body:
        for name in _targets(node):
            top = name.split(".")[0]
            if top in LAZY or (top in PACKAGES and name != module and _loads_heavy(name)):
                return True
    return False


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_imports_point_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    for name in _imports(_tree(path)):
        top = name.split(".")[0]
        if top in PACKAGES:
            assert top in FIRST_PARTY[package], f"{_name(path)} imports {name}"
        elif top not in sys.stdlib_module_names:
            assert top in THIRD_PARTY[package], f"{_name(path)} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_sqlglot_and_ray_stay_in_their_files(path: Path) -> None:
    tops = {name.split(".")[0] for name in _imports(_tree(path))}
    if "sqlglot" in tops:
        assert SQLGLOT_FILES.fullmatch(_name(path)), f"{_name(path)} imports sqlglot"
    if "ray" in tops:
        assert RAY_FILES.fullmatch(_name(path)), f"{_name(path)} imports ray"


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_imports_inside_functions_are_of_heavy_packages(path: Path) -> None:
    for line, name in _lazy_imports(_tree(path)):
        top = name.split(".")[0]
        heavy = top in LAZY or (top in PACKAGES and _loads_heavy(name)) or name.startswith("pyarrow.")
        assert heavy or name in LAZY_PARTS, f"{_name(path)}:{line} imports {name} inside a function"


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(_tree(path)), f"{_name(path)} has no docstring"


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()


def test_import_sqlray_is_light() -> None:
    """`import sqlray` loads no package that most queries do not need."""
    heavy = ("ray", "pandas", "duckdb", "prompt_toolkit", "rich", "pygments", "tpchgen_cli", "cudf_polars", "pylibcudf")
    code = f"import sys, sqlray; print(*[name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == []


def test_a_query_loads_no_ray_and_no_pandas() -> None:
    code = (
        "import sys, sqlray\n"
        "assert sqlray.sql('select 1 + 1 as two').fetchall() == [(2,)]\n"
        "print(*[name for name in ('ray', 'pandas', 'duckdb', 'prompt_toolkit') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"])
def test_paths_in_documents_exist(document: str) -> None:
    """What a document names in backticks as a file of ours is there."""
    path = ROOT / document
    text = path.read_text()
    named = re.findall(r"`((?:sqlray|planner|executor|tpch_queries|tests)/[\w./*]*)`", text)
    missing = [name for name in named if not list(ROOT.glob(name.rstrip("/")))]
    assert not missing


def test_version_is_written_once() -> None:
    import sqlray
    from sqlray.version import __version__

    assert sqlray.__version__ == __version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
