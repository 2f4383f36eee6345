"""The shape of the project, read from its files: sizes, imports, hooks, and what must never be there."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from runai_core.plugins import hookspecs

ROOT = Path(__file__).parent.parent
CORE = sorted((ROOT / "runai_core").rglob("*.py"))
CODE = [*CORE, *sorted((ROOT / "integrations").glob("*/runai_*/**/*.py")), *sorted((ROOT / "examples").glob("*.py"))]
HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("runai_"))

MODULE_LINES, FUNCTION_LINES = 400, 40

LONG_MODULES = {
    "runai_core/ports.py": "all that is asked of a backend, on one page; each port is a few lines",
}

LONG_FUNCTIONS: dict[str, str] = {
    "integrations/airflow/runai_airflow/operators.py:__init__": "Airflow wants each template field set there by name",
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions_of(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = node.body[0] if ast.get_docstring(node) else None
            documented = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring else 0
            yield f"{name_of(path)}:{node.name}", (node.end_lineno or 0) - node.lineno + 1 - documented


def test_modules_can_be_read_at_one_go() -> None:
    lines = {name_of(path): len(path.read_text().splitlines()) for path in CODE}

    assert {name: count for name, count in lines.items() if count > MODULE_LINES and name not in LONG_MODULES} == {}
    assert {name for name in LONG_MODULES if lines.get(name, 0) <= MODULE_LINES} == set(), "no longer needed"


def test_functions_fit_a_screen() -> None:
    lines = dict(function for path in CODE for function in functions_of(path))

    assert {name: count for name, count in lines.items() if count > FUNCTION_LINES and name not in LONG_FUNCTIONS} == {}
    assert {name for name in LONG_FUNCTIONS if lines.get(name, 0) <= FUNCTION_LINES} == set(), "no longer needed"


def test_who_may_import_whom() -> None:
    # A process of its own: import-linter sets up logging for the whole process it runs in.
    checked = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout


LIGHT = {
    "the command line": (
        "runai_core.cli.main",
        {"httpx", "pydantic", "sqlalchemy", "fastapi", "numpy", "rich", "asyncio"},
    ),
    "the package itself": ("runai_core", {"httpx", "pydantic", "sqlalchemy", "fastapi", "numpy", "click", "asyncio"}),
    "the model": ("runai_core.model.workload", {"pydantic", "numpy", "asyncio"}),
    "the plug-in types": ("runai_core.plugins.types", {"pydantic", "sqlalchemy", "httpx", "click"}),
    "the supervisor of pods": (
        "runai_core.backends.local.supervisor",
        {"httpx", "pydantic", "sqlalchemy", "numpy", "pluggy", "click"},
    ),
}


@pytest.mark.parametrize(("module", "heavy"), LIGHT.values(), ids=LIGHT)
def test_what_must_start_fast_loads_nothing_heavy(module: str, heavy: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    assert heavy & set(loaded) == set()


def test_no_package_shadows_a_framework() -> None:
    """With ``integrations/airflow/__init__.py``, ``import airflow`` would find our folder and break Airflow."""
    folder = ROOT / "integrations"
    traps = [folder / "__init__.py", *folder.glob("*/__init__.py"), *folder.glob("*/tests/**/__init__.py")]

    assert [name_of(path) for path in traps if path.exists()] == []
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_every_integration_is_a_distribution_with_its_plugin() -> None:
    folders = {path.name for path in (ROOT / "integrations").iterdir() if path.is_dir()}

    assert folders >= {"airflow", "mlflow", "kubeflow", "ray", "spark", "kubevirt", "seldon"}
    for name in sorted(folders):
        folder = ROOT / "integrations" / name
        assert f'{name} = "runai_{name}.plugin"' in (folder / "pyproject.toml").read_text()
        assert (folder / f"runai_{name}" / "plugin.py").is_file()
        assert (folder / "README.md").is_file()
        assert list((folder / "tests").glob("test_*.py")) != []


def test_the_locks_hold_the_core_and_all_ecosystems_and_no_address() -> None:
    texts = [path.read_text() for path in (ROOT / "locks").glob("*.txt")]
    locked = {line.split("==")[0] for text in texts for line in text.splitlines() if "==" in line}

    assert "://" not in "".join(texts)
    assert locked >= {
        "apache-airflow",
        "mlflow",
        "kfp",
        "ray",
        "pyspark",
        "kubernetes",
        "pluggy",
        "pytest",
    }


def test_the_core_does_not_ask_for_an_ecosystem() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[\[<>=~!; ]", requirement)[0] for requirement in project["dependencies"]}

    assert (
        wanted & {"apache-airflow", "mlflow", "mlflow-skinny", "kfp", "kubeflow", "ray", "pyspark", "kubernetes"}
        == set()
    )


def test_no_module_of_ours_is_called_runai() -> None:
    """The client that Run:ai publishes installs a top-level package of this name."""
    assert not (ROOT / "runai").exists()
    assert not (ROOT / "runai.py").exists()


def signature_of(hook: str) -> str:
    tree = ast.parse(Path(hookspecs.__file__).read_text())
    node = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == hook)
    assert node.returns is not None
    returns = str(node.returns.value) if isinstance(node.returns, ast.Constant) else ast.unparse(node.returns)
    return f"{hook}({ast.unparse(node.args)}) -> {returns}"


def test_there_are_nine_hooks() -> None:
    assert len(HOOKS) == 9


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_are_documented_with_their_exact_signature(hook: str) -> None:
    assert f"### `{signature_of(hook)}`" in (ROOT / "docs" / "hooks.md").read_text().splitlines()


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_are_tested(hook: str) -> None:
    tests = (ROOT / "tests" / "unit" / "plugins" / "test_hooks.py").read_text()

    assert re.search(rf"^(async )?def test_hook_{hook}\(", tests, re.MULTILINE)


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=False, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name]


HOME_OF_SOMEBODY = re.compile(r"(?<![\w.])/(?:home/(?!runai\b|user\b)[a-z]\w*|root|Users/\w+|work)/[\w.]")


def test_no_file_names_a_place_on_the_machine_of_its_author() -> None:
    texts = {path: path.read_text(errors="ignore") for path in tracked_files() if path.is_file()}

    found = {name_of(path): match[0] for path, text in texts.items() if (match := HOME_OF_SOMEBODY.search(text))}

    assert found == {}
