"""The container's file and the public workflow name what there is, and nothing secret gets in."""

import re
import tomllib
from fnmatch import fnmatch

import yaml

from tests.packaging.distributions import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def instructions() -> list[tuple[str, str]]:
    """Each instruction of the Dockerfile, and its words."""
    text = re.sub(r"^#.*\n", "", (REPOSITORY / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(name, words) for name, _, words in (line.partition(" ") for line in lines) if name]


def of(wanted: str) -> list[str]:
    return [words for name, words in instructions() if name == wanted]


def test_the_image_copies_what_there_is_and_all_that_a_wheel_is_built_from() -> None:
    copied = {path for words in of("COPY") for path in words.split()[:-1]}
    assert all((REPOSITORY / path).exists() for path in copied)
    needed = {PROJECT["readme"], "pyproject.toml", "src", *PROJECT["license-files"]}
    assert copied == needed
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied


def test_the_image_installs_extras_that_exist() -> None:
    installed = re.findall(r"pip install [^&]*\[([\w,-]+)\]", " ".join(of("RUN")))
    assert installed == ["eval"]
    assert set(installed[0].split(",")) <= set(PROJECT["optional-dependencies"])


def test_the_image_runs_otr_as_no_root_and_is_given_no_secret() -> None:
    assert of("ENTRYPOINT") == ['["otr"]'] and "otr" in PROJECT["scripts"]
    (user,) = of("USER")
    assert int(user) > 0 and f"--uid {user}" in " ".join(of("RUN"))
    secret = re.compile(r"TOKEN|SECRET|PASSWORD|KEY", re.IGNORECASE)
    assert not of("ARG") and not any(secret.search(words) for words in of("ENV"))
    (base,) = of("FROM")
    assert fnmatch(base, "nvidia/cuda:*-base-ubuntu*") and not base.endswith("latest")


def test_the_workflow_runs_what_ci_runs_on_every_python_that_is_promised() -> None:
    jobs = yaml.safe_load((REPOSITORY / ".github/workflows/test.yml").read_text())["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    commands = [step["run"] for step in steps if "run" in step]
    assert "bash .ci/run" in commands and (REPOSITORY / ".ci/run").is_file()
    targets = re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    made = [words.split()[1] for words in commands if words.startswith("make ")]
    assert made and set(made) <= set(targets)
    pythons = jobs["test"]["strategy"]["matrix"]["python"]
    promised = [
        text.rpartition(" ")[2] for text in PROJECT["classifiers"] if "Python :: 3." in text
    ]
    assert set(promised) <= set(pythons)
    assert min(pythons) == PROJECT["requires-python"].removeprefix(">=")
    # `.ci/run` makes the environment with the Python that the variable names.
    assert "\nPYTHON ?= python3.11\n" in (REPOSITORY / "Makefile").read_text()


def test_the_citation_names_the_paper_that_the_readme_names() -> None:
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert cited["license"] == PROJECT["license"]
    paper = cited["preferred-citation"]
    (number,) = {each["value"].removeprefix("arXiv:") for each in paper["identifiers"]}
    assert f"arxiv.org/abs/{number}" in (REPOSITORY / "README.md").read_text()
    assert paper["doi"].endswith(number)
