"""A notebook as a page: its words, its code, and the outputs it was committed with."""

from pathlib import Path

import nbformat


def notebook_page(path: Path) -> str:
    """The notebook as Markdown."""
    notebook = nbformat.read(path, as_version=4)
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        said = "".join(_text(output) for output in cell.outputs)
        if said.strip():
            parts.append(f"```text\n{said.rstrip()}\n```")
    parts.append(f"[The notebook itself](first_steps.ipynb) (`notebooks/{path.name}`).")
    return "\n\n".join(parts) + "\n"


def _text(output: nbformat.NotebookNode) -> str:
    if output.output_type == "stream":
        return output.text if output.name == "stdout" else ""
    return output.get("data", {}).get("text/plain", "") + "\n"
