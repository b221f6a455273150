"""Every library that the package imports is declared, and every declared one is imported."""

import ast
import re
import sys
import tomllib

from tests.packaging.distributions import REPOSITORY

NOT_EXTRAS = {"triton", "vllm", "axolotl", "tensorboard"}
"""torch brings triton where there is one; vLLM and axolotl bring a torch of their own and, like
trackers, are the user's to choose."""

NOT_IMPORTED = {"docs", "quantized"}
"""Extras of which the package itself imports nothing: one is for developers, and transformers and peft
import bitsandbytes where a setting asks for it."""

MODULES = {"ruamel.yaml": "ruamel"}
"""Distributions whose module has another name than their own with underscores."""


def imported() -> set[str]:
    """The first names of everything imported in src, by statements or by `import_module`."""
    names: set[str] = set()
    for path in (REPOSITORY / "src/otr").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module or "")
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "import_module":
                if isinstance(node.args[0], ast.Constant):
                    names.add(str(node.args[0].value))
    return {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"otr"}


def test_declared_dependencies_are_those_that_are_imported() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = project["dependencies"] + [
        text for extra, texts in extras.items() if extra not in NOT_IMPORTED for text in texts
    ]
    names = [re.split(r"[\[<>=]", text)[0] for text in declared]
    modules = {MODULES.get(name, name.replace("-", "_")) for name in names}
    assert modules == imported() - NOT_EXTRAS


def test_no_dependency_is_held_to_one_version_or_kept_from_a_newer_one() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    for text in project["dependencies"]:
        assert re.fullmatch(r"[a-z0-9.-]+>=[0-9.]+", text), text
