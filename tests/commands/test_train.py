"""`otr train`, `otr check` and `otr eval` from a run file to a run folder."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config

from otr import runs
from otr.commands.main import main
from otr.evaluation.prompts import Prompts
from otr.pretrained import load_tokenizer
from otr.training.progress import COLUMNS
from tests.processes import running

pytestmark = pytest.mark.filterwarnings("ignore")

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the folder ../shared/data with real data is not there"
)

ADDITIONS = [
    {"question": f"add {a} and {b} :", "answer": f"ans {a + b} ."}
    for a in range(2, 9)
    for b in range(1, 2)
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    runs.write_jsonl(tmp_path / "rows.jsonl", ADDITIONS)
    return tmp_path


def write_recipe(folder: Path, **changes: Any) -> str:
    recipe = {
        "model": "demo",
        "data": {
            "train": "rows.jsonl",
            "prompt": "question",
            "completion": "answer",
            "separator": " ",
        },
        "objective": {"name": "otr", "num_rollouts": 16},
        "training": {
            "max_steps": 6,
            "per_device_train_batch_size": 4,
            "learning_rate": 1e-3,
            "save_strategy": "no",
        },
        "samples": {"every_steps": 3, "max_new_tokens": 8},
        "output_dir": "runs/first",
    } | changes
    with open(folder / "recipe.yaml", "w") as file:
        YAML(typ="safe").dump(recipe, file)
    return "recipe.yaml"


def metrics(folder: Path) -> list[dict[str, Any]]:
    return list(runs.read_jsonl(folder / "metrics.jsonl"))


def test_a_run_folder_holds_what_the_contract_says(folder: Path) -> None:
    recipe = write_recipe(folder)
    words = ["training.eval_steps=3", "training.eval_strategy=steps", "data.validation=rows.jsonl"]
    assert main(["train", recipe, *words]) == 0
    run = folder / "runs/first"
    lines = [line for line in metrics(run) if "loss" in line]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert all(tuple(line)[: len(COLUMNS)] == COLUMNS for line in lines)
    evaluations = [line for line in metrics(run) if "eval_loss" in line]
    assert [line["step"] for line in evaluations] == [3, 6]
    assert all({"eval_nll", "eval_hit_rate"} <= line.keys() for line in evaluations)

    config = YAML(typ="safe").load((run / "config.yaml").read_text())
    assert config["objective"] == {
        "name": "otr", "num_rollouts": 16, "temperature": 1.3, "wrong_reward": -0.1,
        "least_chance": 0.0, "max_temperature": 16.0, "sft_share": 0.0, "sft_until": 0.0,
        "floor": 0.0, "entropy_bonus": 0.0, "anchor": None,
    }  # fmt: skip
    cost = json.loads((run / "cost.json").read_text())
    assert cost["num_steps"] == 6 and cost["seconds"] >= lines[-1]["seconds"] > 0
    assert 0 < cost["head_share"] < 1
    assert json.loads((run / "audit.json").read_text())["num_examples"] > 0
    assert config["training"]["eval_steps"] == 3 and config["data"]["validation"] == "rows.jsonl"
    environment = json.loads((run / "environment.json").read_text())
    assert environment["versions"]["torch"] == torch.__version__
    assert len(environment["data_sha256"]["rows.jsonl"]) == 64

    samples = list(runs.read_jsonl(run / "samples.jsonl"))
    assert [sample["step"] for sample in samples] == [3, 3, 6, 6]
    assert samples[0]["prompt"] == "add 2 and 1 :" and samples[0]["output"]

    model = AutoModelForCausalLM.from_pretrained(run / "model")
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    assert model.config.vocab_size >= len(tokenizer)
    assert not [path for path in run.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]


def test_a_resolved_config_repeats_the_run(folder: Path) -> None:
    recipe = write_recipe(folder)
    assert main(["train", recipe, "compaction=off"]) == 0
    assert YAML(typ="safe").load(Path("runs/first/config.yaml"))["compaction"] == "off"
    assert main(["train", "runs/first/config.yaml", "output_dir=runs/again"]) == 0
    first, again = [
        AutoModelForCausalLM.from_pretrained(f"runs/{name}/model") for name in ("first", "again")
    ]
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_training_learns_what_the_demonstrations_say(folder: Path) -> None:
    recipe = write_recipe(folder, objective={"name": "sft"})
    assert main(["train", recipe, "training.max_steps=60", "samples.every_steps=0"]) == 0
    lines = metrics(folder / "runs/first")
    assert lines[-1]["nll"] < 0.1 * lines[0]["nll"]
    assert lines[-1]["mean_token_accuracy"] > 0.95
    assert all(line["target_weight"] == 1 for line in lines)


def test_an_adapter_is_trained_saved_and_evaluated(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(folder, lora={"r": 4, "target_modules": "all-linear"})
    assert main(["train", recipe]) == 0
    base = AutoModelForCausalLM.from_pretrained(Path(runs.__file__).parent / "demo/bases/strong")
    adapted = AutoModelForCausalLM.from_pretrained("runs/first/model")
    tokens = torch.arange(20)[None]
    assert not torch.allclose(base(tokens).logits.float(), adapted(tokens).logits.float())
    assert main(["eval", "runs/first", "--benchmark", "demo/in_domain", "--limit", "5"]) == 0
    assert "n = 5" in capsys.readouterr().out
    assert json.loads((folder / "runs/first/scores.json").read_text())["demo/in_domain"]["n"] == 5


def test_check_says_what_would_be_lost_and_trains_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(folder)
    assert main(["check", recipe]) == 0
    said = capsys.readouterr().out
    for part in ("rows       7 of completion", "steps      6", "memory     about", "most of it ", "time       about",
                 "as timed just now", "labels     mean",
                 "rollouts   ", "learn |  ans 3 .", "nothing would be lost"):  # fmt: skip
        assert part in said, part
    assert not (folder / "runs").exists()

    assert main(["check", recipe, "training.max_length=6", "--data-only"]) == 2
    assert "none of the 7 rows is left" in capsys.readouterr().err
    runs.write_jsonl(
        folder / "rows.jsonl", [*ADDITIONS, {"question": "add 1 " * 40, "answer": "a"}]
    )
    assert main(["check", recipe, "training.max_length=30"]) == 2
    said = capsys.readouterr().out
    assert "PROBLEM    1 examples are longer than training.max_length=30" in said
    assert "line 8" in said and "1 problem" in said
    assert main(["check", recipe, "training.max_length=30", "data.overlong=drop"]) == 0


def test_training_says_what_it_drops(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs.write_jsonl(
        folder / "rows.jsonl", [*ADDITIONS, {"question": "add 1 " * 40, "answer": "a"}]
    )
    recipe = write_recipe(folder)
    assert main(["train", recipe, "training.max_length=30", "data.overlong=drop"]) == 0
    said = capsys.readouterr().err
    assert "7 examples, 28 of 63 tokens learned" in said
    assert "1 example: dropped, longer than training.max_length=30" in said and "line 8" in said


def test_labels_far_from_the_model_are_pointed_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.write_jsonl(
        folder / "rows.jsonl", [{"question": "Zebra?", "answer": "QUX, QUUX & <corge>!"}] * 8
    )
    assert main(["check", write_recipe(folder)]) == 0
    assert "get almost no signal from OTR" in capsys.readouterr().out


CHATS = {
    "alpaca_en_demo.json": ("completion", 999),
    "v1_sft_demo.jsonl": ("messages", 500),
    "glaive_toolcall_en_demo.json": ("messages", 300),
    "reason_tool_use_demo_50.jsonl": ("messages", 50),
}


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize("name", CHATS)
def test_real_conversations_load_audit_and_train(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, number = CHATS[name]
    recipe = write_recipe(
        folder,
        data={"train": str(SHARED / "chat" / name)},
        training={"max_steps": 2, "per_device_train_batch_size": 1, "max_length": None, "save_strategy": "no"},
        samples={"every_steps": 0},
    )  # fmt: skip
    assert main(["check", recipe, "--data-only"]) == 0
    assert f"rows       {number} of {kind}" in capsys.readouterr().out
    assert main(["train", recipe, "data.limit=20"]) == 0
    lines = metrics(folder / "runs/first")
    assert len(lines) == 2 and lines[0]["nll"] > 0 and lines[0]["num_tokens"] > 0
    run = folder / "runs/first"
    style = Prompts(str(run), load_tokenizer(str(run / "model"))).style
    assert style == ("chat" if kind == "messages" else "base")


@needs_shared
@pytest.mark.slow
def test_real_mathematics_trains_with_falling_nll(folder: Path) -> None:
    recipe = write_recipe(
        folder,
        data={
            "train": str(SHARED / "gsm8k/train.jsonl"),
            "prompt": "question",
            "completion": "answer",
            "limit": 400,
        },
        objective={"name": "sft"},
        samples={"every_steps": 0},
        training={"max_steps": 20, "per_device_train_batch_size": 2, "max_length": 2048, "learning_rate": 3e-3, "save_strategy": "no"},
    )  # fmt: skip
    assert main(["train", recipe]) == 0
    nll = [line["nll"] for line in metrics(folder / "runs/first")]
    assert sum(nll[-3:]) < 0.5 * sum(nll[:3])


@pytest.mark.slow
def test_a_large_vocabulary_needs_no_room_for_all_logits(folder: Path) -> None:
    """A Qwen2 of 151,936 words: the logits of a batch alone would take 2 GiB in float32."""
    tokenizer = AutoTokenizer.from_pretrained(Path(runs.__file__).parent / "demo/bases/strong")
    config = Qwen2Config(
        vocab_size=151_936, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "qwen2")
    tokenizer.save_pretrained(folder / "qwen2")
    runs.write_jsonl(folder / "rows.jsonl", [{"question": "Q", "answer": "word " * 240}] * 4)
    training = {"max_steps": 1, "max_length": None, "save_strategy": "no"}
    peaks = []
    for batch in (1, 4):
        recipe = write_recipe(
            folder,
            model="qwen2",
            samples={"every_steps": 0},
            training=training | {"per_device_train_batch_size": batch},
            output_dir=f"runs/{batch}",
        )
        # In a process of its own, since peak memory is a process's.
        with running("otr", "train", recipe) as program:
            assert program.ended().status == 0
        (line,) = metrics(folder / f"runs/{batch}")
        peaks.append(line["peak_memory_mb"])
    (tokens,) = [len(tokenizer("word " * 240)["input_ids"])]
    all_logits_mb = 4 * tokens * 151_936 * 4 / 2**20
    assert all_logits_mb > 2000
    assert peaks[1] - peaks[0] < 0.15 * all_logits_mb


@pytest.mark.slow
def test_a_signal_saves_and_the_same_command_goes_on(folder: Path) -> None:
    recipe = write_recipe(folder, training={"max_steps": 100_000, "save_strategy": "no"})
    metrics_path = folder / "runs/first/metrics.jsonl"
    with running("otr", "train", recipe) as program:
        while not metrics_path.exists() and program.process.is_alive():
            time.sleep(0.05)
        program.process.terminate()
        ended = program.ended(120)
    assert ended.status == 75, ended.stderr
    said = "the same command goes on from runs/first/checkpoints/checkpoint-"
    assert said in ended.stderr
    step = metrics(folder / "runs/first")[-1]["step"]
    assert (folder / f"runs/first/checkpoints/checkpoint-{step}").is_dir()
    # A recipe with another number of steps is another run.
    assert main(["train", recipe, f"training.max_steps={step + 2}"]) == 2


def test_a_token_of_the_hub_is_written_nowhere(folder: Path) -> None:
    recipe = write_recipe(folder)
    secret = "hf_never_to_be_seen"
    words = [
        f"training.hub_token={secret}",
        "training.save_strategy=steps",
        "training.save_steps=3",
    ]
    assert main(["train", recipe, *words]) == 0
    files = [path for path in (folder / "runs").rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if secret.encode() in path.read_bytes()]


def test_a_model_s_own_code_is_not_run_unless_asked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = folder / "stranger"
    shutil.copytree(Path(runs.__file__).parent / "demo/bases/weak", stranger)
    config = json.loads((stranger / "config.json").read_text())
    config |= {
        "model_type": "stranger",
        "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"},
    }
    (stranger / "config.json").write_text(json.dumps(config))
    (stranger / "code.py").write_text("open('ran', 'w').write('x')\nclass C: pass\nclass M: pass\n")
    assert main(["train", write_recipe(folder, model=str(stranger))]) == 2
    assert not (folder / "ran").exists() and not (folder / "runs").exists()
    message = capsys.readouterr().err
    assert "Traceback" not in message and "trust_remote_code" in message
