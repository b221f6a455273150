"""The live figure: what `otr inspect` shows of two rows under the embedded model."""

import contextlib
import io
import tempfile
from pathlib import Path

from otr.commands.main import main as otr
from otr.demo.regimes import REGIMES, write_demonstrations

ROWS = (0, 1)
"""One demonstration that slips in a step, and one that is right."""

CAPTION = """<figure class="live">
<iframe src="figures/tokens.html" title="Token view of two demonstrations" loading="lazy"></iframe>
<figcaption>Made when this page was built, by <code>otr inspect</code> on the embedded model: point at a
token, or walk along with the arrow keys. <a href="figures/tokens.html">The figure alone.</a></figcaption>
</figure>"""


def write_figure(path: Path) -> None:
    """Write the token view of two demonstrations, of which half slip, as a page."""
    with tempfile.TemporaryDirectory(prefix="otr-figure-") as folder:
        data = Path(folder) / "demonstrations.jsonl"
        write_demonstrations(REGIMES[0], 0, data)
        words = ["inspect", "demo", "--data", str(data), "--separator", " "]
        words += ["--prompt", "prompt", "--completion", "completion", "-o", str(path)]
        for row in ROWS:
            words += ["--row", str(row)]
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            status = otr(words)
    if status:
        raise SystemExit(f"the figure was not made: {said.getvalue()}")
