from pathlib import Path

RESULTS = Path(__file__).parent / "results"
DOCUMENT = Path(__file__).parents[2] / "docs" / "scaling.md"


def document():
    return ""
