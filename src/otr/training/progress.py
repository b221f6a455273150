"""What a run writes and shows while it trains."""

import sys
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import TrainerCallback

from otr import runs
from otr.terminal import bar_options, shortened_end, shortened_start, visible, wrapped
from otr.training.budget import TimeBudget
from otr.training.cost import Clock
from otr.training.model_head import in_mode
from otr.training.parallel import is_sharded

COLUMNS = (
    "step", "epoch", "loss", "nll", "entropy", "mean_token_accuracy", "hit_rate", "reward",
    "target_weight", "grad_norm", "learning_rate", "tokens_per_second", "peak_memory_mb",
    "num_tokens", "seconds",
)  # fmt: skip
"""The columns of every line of metrics.jsonl, for every objective, in this order."""


_LINES_IN_MEMORY = 100

_SHOWN_OF_PROMPT, _SHOWN_OF_OUTPUT = 60, 240

_BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}, {remaining} left{postfix}"
"""Short enough that the figures and a bar fit into 80 columns."""


class Metrics(TrainerCallback):
    """Appends each log line to metrics.jsonl, with the seconds of training so far, and has the steps
    after the last one logged when training ends.

    The trainer would also keep every line in memory and write all of them into every checkpoint;
    only the last ones are left to it.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path, self.clock = path, clock

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # A whole line, before the last checkpoint; the trainer's closing line has no loss of theirs.
        if state.global_step >= state.max_steps:
            control.should_log = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # Also where a budget or early stopping ends the training.
        if control.should_training_stop:
            control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        del state.log_history[:-_LINES_IN_MEMORY]
        if not state.is_world_process_zero or not logs:
            return
        row = {"step": state.global_step, **logs, "seconds": self.clock.seconds}
        row = {name: runs.finite(value) for name, value in row.items()}
        if "loss" in row:
            row = {name: row.pop(name) for name in COLUMNS if name in row} | row
        elif not any(name.startswith("eval_") for name in row):
            return
        runs.append_jsonl(self.path, row)


class Progress(TrainerCallback):
    """A progress bar with loss, NLL, tokens per second and the time left; lines without a
    terminal. Over steps, or over the seconds of a budget."""

    def __init__(self, budget: TimeBudget | None = None) -> None:
        self.bar: tqdm | None = None
        self.budget = budget

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self.bar = tqdm(
                total=state.max_steps if self.budget is None else round(self.budget.budget_seconds),
                initial=state.global_step if self.budget is None else 0,
                **bar_options("step" if self.budget is None else "second", _BAR),
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.bar is not None:
            done = state.global_step
            if self.budget is not None:
                done = min(int(self.budget.clock.seconds), self.bar.total)
            self.bar.update(done - self.bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if self.bar is None or not logs:
            return
        if "loss" in logs:
            self.bar.set_postfix_str(
                f"loss {logs['loss']:.4f}, nll {logs['nll']:.4f}, "
                f"{logs['tokens_per_second']:,.0f} tokens/s",
                refresh=False,
            )
        elif "eval_loss" in logs:
            self.bar.write(
                f"step {state.global_step}: evaluation loss {logs['eval_loss']:.4f}, "
                f"nll {logs['eval_nll']:.4f}",
                file=sys.stderr,
            )

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class SampleGenerations(TrainerCallback):
    """Greedy generations of fixed prompts, shown and kept in samples.jsonl."""

    def __init__(
        self,
        prompts: list[list[int]],
        tokenizer: Any,
        every_steps: int,
        max_new_tokens: int,
        path: Path,
        shown: bool = True,
    ) -> None:
        self.prompts, self.tokenizer, self.path, self.shown = prompts, tokenizer, path, shown
        self.every_steps, self.max_new_tokens = every_steps, max_new_tokens

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        last = state.global_step == state.max_steps
        if state.global_step % self.every_steps and not last:
            return
        # The processes must make each forward pass of a sharded model together.
        if not (state.is_world_process_zero or is_sharded(model)):
            return
        for prompt in self.prompts:
            output = self._generated(model, prompt)
            if not state.is_world_process_zero:
                continue
            row = {
                "step": state.global_step,
                "prompt": self.tokenizer.decode(prompt),
                "output": output,
            }
            runs.append_jsonl(self.path, row)
            if not self.shown:
                continue
            # The end of the prompt and the beginning of the answer tell the most.
            # Of a chat, the words without the marks of its turns.
            asked = str(self.tokenizer.decode(prompt, skip_special_tokens=True)) or row["prompt"]
            before = shortened_start(" ".join(asked.split()), _SHOWN_OF_PROMPT)
            after = shortened_end(output, _SHOWN_OF_OUTPUT)
            line = f"step {state.global_step}: {visible(before)} → {visible(after)}"
            tqdm.write("\n".join(wrapped([line], stream=sys.stderr)), file=sys.stderr)

    def _generated(self, model: Any, prompt: list[int]) -> str:
        tokens = torch.tensor([prompt], device=model.device)
        with in_mode(model, training=False), torch.no_grad():
            output = model.generate(
                input_ids=tokens,
                attention_mask=torch.ones_like(tokens),
                max_new_tokens=self.max_new_tokens,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=self.tokenizer.pad_token_id,
                synced_gpus=is_sharded(model),
            )
        return self.tokenizer.decode(output[0, len(prompt) :], skip_special_tokens=True)
