"""From the repository to a folder of HTML: assemble, then build with every warning an error."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ruamel.yaml import YAML

from website import ROOT
from website.commands import commands_page
from website.fields import run_file_page
from website.figure import CAPTION, write_figure
from website.navigation import navigation
from website.notebook import notebook_page
from website.python_api import api_page
from website.tables import with_numbers_right

REPOSITORY_PAGES = {
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "recipes/README.md": "recipes/index.md",
}
"""Documents outside docs/ that are pages as well."""

NOTEBOOK = "notebooks/first_steps.ipynb"

_STANDS_FOR = {
    "README.md#what-it-costs": "cost.md",
    "README.md": "index.md",
    NOTEBOOK: "first-steps.md",
    "src/otr/__init__.py": "api.md",
    "src/otr/commands": "commands.md",
    "src/otr/training/config.py": "run-file.md",
}
"""Files that links may name, and the pages that take their place: so links hold on disk too."""

_SHIM = "https://unpkg.com/iframe-worker/shim"
"""What the theme would fetch for the search of pages that are opened as files; we bring it along."""

_PICTURES = {".png", ".svg", ".jpg", ".gif"}

LINK = re.compile(r"(?P<bang>!?)\[(?P<text>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<target>[^()\s]+)\)")
"""A Markdown link or picture."""

_FENCE = re.compile(r"(^ {0,3}```.*?^ {0,3}```[^\n]*$)", re.DOTALL | re.MULTILINE)


def build_site(output: Path) -> None:
    """Write the site to a folder that is replaced.

    Raises: SystemExit with the builder's words if a page has a warning, such as a dead link.
    """
    with tempfile.TemporaryDirectory(prefix="otr-site-") as temporary:
        project = Path(temporary)
        assemble(project / "docs")
        _write_configuration(project)
        finished = subprocess.run(
            [sys.executable, "-m", "zensical", "build", "--strict"],
            cwd=project,
            env={**os.environ, "NO_COLOR": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
            capture_output=True,
            text=True,
        )
        if finished.returncode or "Warning" in finished.stdout + finished.stderr:
            raise SystemExit(f"the site was not built:\n{finished.stdout}{finished.stderr}")
        _bring_shim(project / "site")
        if output.exists():
            shutil.rmtree(output)
        shutil.copytree(project / "site", output)


def sources() -> dict[str, str]:
    """Documents of the repository that are pages, and each one's page."""
    pages = dict(REPOSITORY_PAGES)
    for path in sorted((ROOT / "docs").rglob("*.md")):
        inside = path.relative_to(ROOT / "docs").as_posix()
        pages[f"docs/{inside}"] = re.sub(r"README\.md$", "index.md", inside)
    return pages


def assemble(folder: Path) -> None:
    """Write all pages as Markdown, with links that hold among them, and their pictures."""
    pages = sources()
    known = {**pages, **_STANDS_FOR}
    written = {
        page: _relinked((ROOT / source).read_text(encoding="utf-8"), source, page, known, folder)
        for source, page in pages.items()
    }
    written["cost.md"] = _cost_page(known, folder)
    written["commands.md"] = commands_page()
    written["run-file.md"] = run_file_page()
    written["api.md"] = api_page()
    written["first-steps.md"] = _relinked(
        notebook_page(ROOT / NOTEBOOK), NOTEBOOK, "first-steps.md", known, folder
    )
    for page, text in written.items():
        (folder / page).parent.mkdir(parents=True, exist_ok=True)
        text = with_numbers_right(text.replace("<!-- figure: tokens -->", CAPTION))
        (folder / page).write_text(text, "utf-8")
    write_figure(folder / "figures" / "tokens.html")
    shutil.copy(ROOT / NOTEBOOK, folder / "first_steps.ipynb")
    shutil.copytree(ROOT / "website" / "assets", folder / "assets")


def _write_configuration(project: Path) -> None:
    """The repository's mkdocs.yml, with what depends on which pages there are."""
    yaml = YAML()
    settings = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    pages = (path.relative_to(project / "docs") for path in (project / "docs").rglob("*.md"))
    settings["nav"] = navigation(page.as_posix() for page in pages)
    for plugin in settings["plugins"]:
        if isinstance(plugin, dict) and "mkdocstrings" in plugin:
            plugin["mkdocstrings"]["handlers"]["python"]["paths"] = [str(ROOT / "src")]
    with (project / "mkdocs.yml").open("w", encoding="utf-8") as out:
        yaml.dump(settings, out)


def _bring_shim(site: Path) -> None:
    for page in site.rglob("*.html"):
        own = os.path.relpath(site / "assets" / "iframe-worker.js", page.parent)
        page.write_text(page.read_text("utf-8").replace(_SHIM, own), encoding="utf-8")


def _cost_page(known: dict[str, str], folder: Path) -> str:
    """What the head costs: the README's section, whose tables `make bench` writes."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = re.search(r"^## (What it costs\n.*?)(?=^## )", readme, re.DOTALL | re.MULTILINE)
    if section is None:
        raise SystemExit("README.md: has no section `What it costs`")
    return _relinked(f"# {section[1]}", "README.md", "cost.md", known, folder)


def _relinked(text: str, source: str, page: str, known: dict[str, str], folder: Path) -> str:
    """The text with links from a document's place in the repository made links from its page's.

    Pictures come along. A link to a file that is no page becomes the name of that file.
    """

    def link(match: re.Match[str]) -> str:
        target, _, anchor = match["target"].partition("#")
        if not target or re.match(r"[a-z]+:", target):
            return match[0]
        inside = os.path.normpath(os.path.join(os.path.dirname(source), target))
        if f"{inside}#{anchor}" in known:
            inside, anchor = f"{inside}#{anchor}", ""
        if inside in known:
            there = os.path.relpath(known[inside], os.path.dirname(page) or ".")
            return f"[{match['text']}]({there}{'#' + anchor if anchor else ''})"
        if Path(inside).suffix in _PICTURES and (ROOT / inside).is_file():
            copy = folder / "pictures" / inside
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / inside, copy)
            there = os.path.relpath(f"pictures/{inside}", os.path.dirname(page) or ".")
            return f"{match['bang']}[{match['text']}]({there})"
        if (ROOT / inside).exists():
            return match["text"] if "`" in match["text"] else f"{match['text']} (`{inside}`)"
        return match[0]

    parts = _FENCE.split(text)
    return "".join(part if n % 2 else LINK.sub(link, part) for n, part in enumerate(parts))
