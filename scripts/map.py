"""Write the map of docs/architecture.md anew from the first sentence of every module."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
SOURCES = ROOT / "src" / "partita"


def main() -> None:
    """Replace everything below the heading."""
    lines = []
    for path in sorted(SOURCES.rglob("*.py"), key=lambda path: (path.parent != SOURCES, str(path))):
        if not path.name.startswith("_"):
            title = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
            lines.append(f"- `{path.relative_to(SOURCES)}`: {title}")
    text = PAGE.read_text().partition("## The map\n")[0]
    PAGE.write_text(text + "## The map\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
