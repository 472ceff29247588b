"""docs/modules.md lists every module with its docstring; `python -m tests.test_module_index` writes it."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE, PAGE = ROOT / "platform" / "quorate", ROOT / "docs" / "modules.md"
INTRODUCTION = """# Modules

Every module of `platform/quorate` with the first paragraph of its docstring. [architecture.md](architecture.md)
explains how the packages depend on each other.
"""


def index() -> str:
    """The content of docs/modules.md."""
    lines, package = [INTRODUCTION], None
    for path in sorted(PACKAGE.rglob("*.py"), key=lambda path: (path.parent, path.name)):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        folder = path.parent.relative_to(PACKAGE)
        name = f"{folder}/" if folder.parts else "top level"
        if name != package:
            package = name
            lines.append(f"\n## {name}\n\n| module | content |\n|---|---|\n")
        if docstring:
            paragraph = " ".join(docstring.split("\n\n")[0].split()).replace("|", "\\|")
            lines.append(f"| `{path.name}` | {paragraph} |\n")
    return "".join(lines)


def test_the_index_of_modules_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == index(), "run `python -m tests.test_module_index`"


if __name__ == "__main__":
    PAGE.write_text(index(), encoding="utf-8")
