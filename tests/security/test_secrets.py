"""Tokens and passwords are in nothing that is written or shown."""

import json
from pathlib import Path
from typing import Any

import pytest

from otr import runs
from otr.commands.main import main
from otr.redaction import HIDDEN, redacted, without_secrets
from otr.study.file import load_study
from otr.study.plan import begin, planned_jobs
from otr.study.runner import Progress, run_jobs
from otr.training import pipeline
from otr.training.config import Run
from tests.study.studies import write_study

pytestmark = pytest.mark.filterwarnings("ignore")

HUB = "hf_" + "aBcDeFgHiJ" * 3 + "kLmN"
SECRETS = [HUB, "sk-proj-" + "Ab3_" * 10, "ghp_" + "a1B2" * 9, "AKIAABCDEFGHIJKLMNOP"]


@pytest.mark.parametrize("secret", SECRETS)
def test_tokens_are_known_by_their_look(secret: str) -> None:
    assert redacted(f"401 for '{secret}'.") == f"401 for '{HIDDEN}'."


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:pa55@host.org/x", f"https://{HIDDEN}@host.org/x"),
        ("https:/me:pa55@host.org/x: no such file", f"https:/{HIDDEN}@host.org/x: no such file"),
        ("s3://host/x.jsonl?token=abc&v=1", f"s3://host/x.jsonl?token={HIDDEN}&v=1"),
        ("x?v=1&X-Amz-Signature=abc 'q'", f"x?v=1&X-Amz-Signature={HIDDEN} 'q'"),
        ("authorization: Bearer abcdefghijklmnop.q", f"authorization: Bearer {HIDDEN}"),
    ],
)
def test_passwords_and_tokens_in_addresses_are_hidden(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "runs/hf_datasets_with_a_long_name/rows.jsonl",
        "sk-learn-pipelines/train.parquet",
        "93c7aac16957b9aa922995954c66a26c0888d702",
        "git@github.com:owner/name.git, 10:30 me@host, a@b",
        "training.eos_token=<|im_end|>",
        "what is the key? token=3, see https://host/x?page=2",
    ],
)
def test_what_is_no_secret_stays(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "training.eos_token")
    monkeypatch.setenv("MAX_TOKENS", "93c7aac16957b9aa922995954c66a26c0888d702")
    assert redacted(text) == text


def test_what_the_environment_holds_is_hidden_wherever_it_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("MY_PASSWORD", "correct horse")
    assert redacted(f"{key}: correct horse") == f"{HIDDEN}: {HIDDEN}"


def test_settings_that_hold_a_secret_are_left_out_at_any_depth() -> None:
    settings = {
        "hub_token": "x", "eos_token": "</s>", "model_init_kwargs": {"token": "x", "revision": "a"},
        "list": [{"api_key": "x"}, f"a {HUB}", 3],
    }  # fmt: skip
    assert without_secrets(settings) == {
        "eos_token": "</s>", "model_init_kwargs": {"revision": "a"}, "list": [{}, f"a {HIDDEN}", 3],
    }  # fmt: skip


def files_with(folder: Path, *secrets: str) -> list[str]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert len(found) >= 3
    return [
        str(path)
        for path in found
        for secret in secrets
        if secret.encode() in path.read_bytes() or secret in str(path)
    ]


def test_a_run_s_files_hold_no_secret_and_the_same_command_finds_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "environment-secret")
    runs.write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "add 1 :", "completion": "ans 1"}] * 4)
    (tmp_path / "recipe.yaml").write_text(
        "model: demo-weak\ndata: {train: rows.jsonl}\noutput_dir: runs/first\n"
        "training: {max_steps: 2, save_steps: 1, hub_token: first-secret, \n"
        "  model_init_kwargs: {token: second-secret}}\nsamples: {every_steps: 1, max_new_tokens: 2}\n"
    )
    secrets = ("environment-secret", "first-secret", "second-secret")
    assert main(["train", "recipe.yaml"]) == 0
    assert list((tmp_path / "runs").rglob("checkpoint-2")), "there is no checkpoint to look at"
    assert files_with(tmp_path / "runs", *secrets) == []
    assert main(["train", "recipe.yaml"]) == 0
    said = capsys.readouterr().err
    assert "already trained" in said and not any(secret in said for secret in secrets)


def test_a_refusal_quotes_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    address = f"https://me:pa55word@host.org/rows.jsonl?token=abc123&x={HUB}"
    (tmp_path / "recipe.yaml").write_text(
        f"model: demo\ndata: {{train: '{address}'}}\noutput_dir: a\n"
    )
    assert main(["train", "recipe.yaml"]) == 2
    said = capsys.readouterr().err
    assert "host.org/rows.jsonl" in said
    assert not any(secret in said for secret in ("pa55word", "abc123", HUB))


@pytest.mark.slow
def test_a_study_s_files_hold_no_secret(tmp_path: Path) -> None:
    """Every run fails, with a message and a log that quote what they were given."""
    base: dict[str, Any] = {
        "model": "demo-weak",
        "data": {"train": f"https://me:pa55word@host.org/rows-{HUB}.jsonl"},
        "training": {"max_steps": 1, "hub_token": "first-secret"},
    }
    study = load_study(
        write_study(tmp_path, base=base, seeds=[0], objectives=[{"name": "sft"}], limit=1)
    )
    begin(study, restart=False)
    # The model's own scores are no concern here.
    run_jobs(planned_jobs(study)[1:], num_processes=1, show=_quiet)
    out = tmp_path / "out"
    (failed,) = out.glob("*/failed.json")
    assert f"{HIDDEN}@host.org/rows-{HIDDEN}.jsonl" in json.loads(failed.read_text())["error"]
    (log,) = (out / runs.LOGS).iterdir()
    assert "Traceback" in log.read_text() and HIDDEN in log.read_text()
    assert files_with(out, "pa55word", HUB, "first-secret") == []
    # And it is still the same study.
    begin(study, restart=False)


def _quiet(progress: Progress) -> None:
    """Show nothing."""


def test_trackers_see_the_settings_without_their_secrets(tmp_path: Path) -> None:
    runs.write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "add 1 :", "completion": "ans 1"}] * 4)
    run = Run.model_validate(
        {
            "model": "demo-weak",
            "data": {"train": str(tmp_path / "rows.jsonl")},
            "training": {
                "max_steps": 1,
                "model_init_kwargs": {"token": "secret", "use_cache": True},
            },
            "output_dir": str(tmp_path / "run"),
        }
    )
    prepared = pipeline.prepare(run)
    trainer = pipeline.build_trainer(prepared, pipeline.loaded_model(prepared), [])
    assert "secret" not in json.dumps(trainer.args.to_dict(), default=str)
