"""The documentation site: pages from docs/, the code's own reference, and a live figure.

`python -m website build` assembles a plain project of Markdown in a temporary folder and has
Zensical turn it into pages; what a page says of options comes from the code at that moment.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The repository."""
