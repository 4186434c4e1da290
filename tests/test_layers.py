"""Which packages may import which: util < data < models < scripts, options beside them."""
import ast

import pytest

from tests.conftest import ROOT

FILES = {path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): path
         for folder in ("util", "data", "models", "options", "datasets", "editor")
         for path in sorted((ROOT / folder).rglob("*.py"))}
# what a package may import of the others; a single module where it says so
ALLOWED = {"util": (), "data": ("util", "options.flags"), "models": ("util", "data", "options.flags"),
           "options": ("util", "data", "models.models"), "datasets": ("util", "data", "models", "options"),
           "editor": ("util", "data", "models", "options", "datasets")}
EXCEPTIONS = {("models.predictor", "options.test_options")}  # drawing from Python parses test.py's flags
OURS = (*ALLOWED, "benchmarks", "tests", *(path.stem for path in ROOT.glob("*.py")))


def imports(path) -> set[str]:
    """The project's modules that a file imports, those inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.update(module if (module := f"{node.module}.{alias.name}") in FILES else node.module for alias in node.names)
    return {name for name in found if name.partition(".")[0] in OURS}


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_point_down(package):
    allowed = (package, *ALLOWED[package])
    up = [(module, name) for module, path in FILES.items() if module.partition(".")[0] == package for name in imports(path)
          if not any(name == one or name.startswith(f"{one}.") for one in allowed)]
    assert set(up) <= EXCEPTIONS


def test_modules_of_util_do_not_import_each_other_in_a_circle():
    graph = {module: imports(path) for module, path in FILES.items() if module.startswith("util.")}
    while leaves := [module for module in graph if not graph[module] & graph.keys()]:
        for module in leaves:
            del graph[module]
    assert not graph
