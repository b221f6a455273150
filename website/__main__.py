"""`python -m website build` makes the site, `check` runs every command that docs/ marks to be run, and
`notebook` runs the notebook."""

import argparse
import sys
import tempfile
from pathlib import Path

from website import ROOT


def main() -> int:
    """Parse, call, print."""
    parser = argparse.ArgumentParser(prog="python -m website", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="write the pages")
    build.add_argument("--output", type=Path, default=ROOT / "site", metavar="DIR")
    check = commands.add_parser("check", help="run the commands of the pages, as a reader would")
    check.add_argument("pages", nargs="*", type=Path, metavar="PAGE", help="only these")
    commands.add_parser("notebook", help="run the notebook, and keep what it prints")
    arguments = parser.parse_args()
    if arguments.command == "build":
        from website.site import build_site

        build_site(arguments.output)
        print(f"site: {arguments.output / 'index.html'}")
        return 0
    if arguments.command == "notebook":
        from website.notebook import keep_outputs
        from website.site import NOTEBOOK

        with tempfile.TemporaryDirectory(prefix="otr-notebook-") as folder:
            keep_outputs(ROOT / NOTEBOOK, Path(folder))
        return 0
    from website.running import run_page, runnable_pages

    for page in arguments.pages or runnable_pages():
        run_page(page, say=print)
    return 0


if __name__ == "__main__":
    sys.exit(main())
