"""How to install the optional parts of otr, in words that hold for the way it was installed."""

import json
import shlex
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

_RECORD = "direct_url.json"
"""What pip writes beside a package that came from a folder, a file or a repository (PEP 610)."""


def install_words(extra: str) -> str:
    """The command that installs an optional part: `pip install '/home/me/otr[harness]'` if otr was
    installed from that folder, `pip install 'otr[harness]'` if it came from an index, where the name
    may be another's otherwise."""
    origin = _origin()
    url = str(origin.get("url", ""))
    if (folder := origin.get("dir_info")) is not None:
        place = f"{unquote(urlparse(url).path)}[{extra}]"
        return f"pip install {'-e ' if folder.get('editable') else ''}{shlex.quote(place)}"
    if url:
        vcs = origin.get("vcs_info", {}).get("vcs")
        place = f"otr[{extra}] @ {vcs + '+' if vcs else ''}{url}"
        return f"pip install {shlex.quote(place)}"
    return f"pip install {shlex.quote(f'otr[{extra}]')}"


def _origin() -> dict[str, Any]:
    """Where the installed otr came from; empty for an index."""
    try:
        recorded = distribution("otr").read_text(_RECORD)
    except PackageNotFoundError:
        # A clone that is run as it is.
        return {"url": Path(__file__).parents[2].as_uri(), "dir_info": {}}
    return json.loads(recorded) if recorded else {}
