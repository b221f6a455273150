"""The notebook: run it, keep what it prints, and show it as a page.

python -m website notebook      runs it and writes its short outputs into it
"""

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from website import ROOT

_LONGEST_OUTPUT = 4_000
"""Characters of an output that are kept; a longer one is a page of its own."""

_SECONDS_A_CELL = 300


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook run from its first cell to its last, in a folder.

    Raises: CellExecutionError at the first cell that fails.
    """
    notebook = nbformat.read(path, as_version=4)
    python_path = filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")])
    client = NotebookClient(
        notebook,
        timeout=_SECONDS_A_CELL,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    return client.execute(
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(python_path),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }
    )


def keep_outputs(path: Path, folder: Path) -> None:
    """Run the notebook and write it with the outputs that are short text."""
    notebook = executed(path, folder)
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [
                output for output in cell.outputs if 0 < len(_text(output)) < _LONGEST_OUTPUT
            ]
            for output in cell.outputs:
                if "data" in output:
                    output.data = {"text/plain": output.data["text/plain"]}
    notebook.metadata = {
        key: notebook.metadata[key] for key in ("kernelspec",) if key in notebook.metadata
    }
    nbformat.write(notebook, path)


def notebook_page(path: Path) -> str:
    """The notebook as Markdown: its words, its code, and the outputs it was committed with."""
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
    """What an output says in plain text; nothing of warnings, nor of what is shown as a page."""
    if output.output_type == "stream":
        return output.text if output.name == "stdout" else ""
    data = output.get("data", {})
    return "" if "text/html" in data else data.get("text/plain", "") + "\n"
