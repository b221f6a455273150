"""Chosen rows as training sees them, and what objectives make of each token: tokens.json.

    {"format": 1, "model": str, "seed": int, "examples": [{
        "row": int, "source": str, "num_tokens": int, "num_supervised": int, "notes": [str],
        "objectives": [{"label", "objective": options, "loss", "sum_of_losses", "num_rollouts"?,
                        "temperature"?, "notes"}],
        "tokens": [{"id", "text", "ends_line", "supervised"} + of supervised ones
                   {"p", "entropy", "is_top1", "words": [{"id", "text", "p", "is_label"}],
                    "others": {"num_words", "p"}, "objectives": [one each, in order]}]}]}

`loss` is what the trainer's head answers for the example, in nats a supervised token;
`sum_of_losses` is the sum of the tokens' losses. An objective's entry of a token is described by
`otr.training.token_parts`. Text is safe to print: control and format characters are escapes.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from otr.errors import UserError
from otr.lm_head import IGNORED, linear_loss
from otr.objectives import Objective, label_in_words, options_of, set_options
from otr.pretrained import check_vocabulary, load_model, load_tokenizer
from otr.redaction import redacted
from otr.runs import model_folder
from otr.training.chosen_examples import ChosenExample, chosen_examples
from otr.training.config import Data, Run
from otr.training.head_transform import measured_transform
from otr.training.model_head import head_inputs, output_head
from otr.training.settings import adapt_tokenizer, run_model, run_tokenizer, sft_config
from otr.training.token_keys import step_seed, token_keys
from otr.training.token_parts import token_parts
from otr.training.words import Words

MOST_TOKENS = 2000
"""Tokens of an example that are shown."""

_LOGITS_AT_ONCE = 1 << 21


def token_views(
    model: str,
    data: Data,
    rows: Sequence[int],
    objectives: Sequence[Objective],
    *,
    seed: int = 0,
    max_length: int | None = None,
    eos_token: str | None = None,
    chat_template_path: str | None = None,
    labels: Sequence[str] | None = None,
) -> dict[str, Any]:
    """What `objectives` make of chosen rows under a model: the value of tokens.json.

    The draws are those that a training run with this seed would make at its first step.

    Args:
        model: a hub id, a folder, `demo`, or a run folder.
        data: the data section of a run file; rows are cut or refused as it says.
        rows: 0-based. A conversation that training splits gives several examples.
        objectives: at least one.
        seed: of the run.
        max_length: `training.max_length` of the run; None for no limit.
        eos_token, chat_template_path: as in the section `training`; None for the model's own.
        labels: the objectives' names to show, as many as objectives.

    Raises: UserError if a row is out of range, cannot be read or has nothing to learn, or if the
    model cannot be loaded or does not know the data's tokens.
    """
    name = model_folder(model)
    tokenizer = load_tokenizer(name)
    adapt_tokenizer(tokenizer, eos_token, chat_template_path)
    examples = chosen_examples(data, rows, tokenizer, max_length)
    return _views(model, load_model(name), tokenizer, examples, objectives, seed, labels)


def run_token_views(
    run: Run, rows: Sequence[int], objectives: Sequence[Objective]
) -> dict[str, Any]:
    """The same for the model that a run begins with and its data, read as its settings say.

    Rows that are not there, or of which nothing that can be shown is learned, are left out.

    Raises: UserError if the model cannot be loaded.
    """
    arguments = sft_config(run)
    tokenizer = run_tokenizer(run, arguments)
    examples = [
        example
        for example in chosen_examples(
            run.data, rows, tokenizer, arguments.max_length, usable_only=True
        )
        if len(_learned(example))
    ]
    return _views(run.model, run_model(run, arguments), tokenizer, examples, objectives, run.seed)


def _views(
    name: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[ChosenExample],
    objectives: Sequence[Objective],
    seed: int,
    labels: Sequence[str] | None = None,
) -> dict[str, Any]:
    policy = _Policy(model)
    return {
        "format": 1,
        "model": redacted(name),
        "seed": seed,
        "examples": [
            example_view(policy, tokenizer, example, objectives, seed=seed, labels=labels)
            for example in examples
        ],
    }


class _Policy:
    """A model, ready to hand its head's input over."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model.eval()
        if torch.cuda.is_available() and model.device.type == "cpu":
            self.model.cuda()  # pyright: ignore[reportCallIssue]
        head = output_head(self.model)
        self.transform = measured_transform(self.model)
        self.weight = self.transform.of_words(head.weight.detach())
        self.bias = None if head.bias is None else self.transform.of_words(head.bias)
        self.device = self.weight.device

    @torch.no_grad()
    def hidden(self, input_ids_T: Tensor) -> Tensor:
        """(T, D)."""
        inputs = input_ids_T[None].to(self.device)
        check_vocabulary(self.model, int(inputs.max()))
        with head_inputs(self.model) as seen:
            self.model(input_ids=inputs, attention_mask=torch.ones_like(inputs), use_cache=False)
        ((states, _),) = seen
        return states[0, -len(input_ids_T) :]

    def logits(self, hidden_TD: Tensor) -> Tensor:
        """After scale and softcap; (T, V), float32 or float64."""
        dtype = torch.promote_types(hidden_TD.dtype, torch.float32)
        logits_TV = hidden_TD.to(dtype) @ self.weight.to(dtype).T
        if self.bias is not None:
            logits_TV = logits_TV + self.bias.detach().to(dtype)
        self.transform.apply_(logits_TV)
        return logits_TV

    def loss(
        self, hidden_TD: Tensor, labels_T: Tensor, keys_T: Tensor, objective: Objective, seed: int
    ) -> float:
        """What the trainer's head answers for these tokens, in nats a token."""
        head = linear_loss(
            hidden_TD, self.weight, labels_T, objective, bias=self.bias,
            logit_scale=self.transform.scale, logit_softcap=self.transform.softcap,
            seed=seed, token_keys=keys_T, compaction="off",
        )  # fmt: skip
        return float(head.loss)


@torch.no_grad()
def example_view(
    policy: _Policy,
    tokenizer: PreTrainedTokenizerBase,
    example: ChosenExample,
    objectives: Sequence[Objective],
    *,
    seed: int = 0,
    labels: Sequence[str] | None = None,
) -> dict[str, Any]:
    """One entry of `examples` in tokens.json.

    Raises: UserError if nothing among the tokens that can be shown is learned.
    """
    notes = list(example.notes)
    ids_T, labels_T = example.input_ids_T[:MOST_TOKENS], example.labels_T[:MOST_TOKENS]
    if len(ids_T) < len(example.input_ids_T):
        notes.append(
            f"the first {MOST_TOKENS} of {len(example.input_ids_T)} tokens; losses are means over "
            "these"
        )
    if labels_T[0] != IGNORED:
        notes.append("nothing comes before the first token, so it is not learned")
    positions = _learned(example)
    if len(positions) == 0:
        raise UserError(
            f"row {example.row} ({example.source}): nothing is learned in its first "
            f"{MOST_TOKENS} tokens, which are all that can be shown; choose another row"
        )
    hidden_TD = policy.hidden(ids_T)[positions.to(policy.device)]
    next_T = labels_T[1:][positions].to(policy.device)
    keys_T = token_keys(ids_T[None])[0][positions].to(policy.device)
    draws_seed = step_seed(seed, 0)
    shown = [_without_schedule(objective) for objective in objectives]
    text_of = Words(tokenizer)
    parts: list[dict[str, Any]] = []
    at_once = max(1, _LOGITS_AT_ONCE // len(policy.weight))
    for rows in torch.arange(len(next_T), device=policy.device).split(at_once):
        parts += token_parts(
            policy.logits(hidden_TD[rows]), next_T[rows], keys_T[rows],
            [objective for objective, _ in shown], seed=draws_seed, word_text=text_of.shown,
        )  # fmt: skip
    summaries = [
        {
            "label": labels[index] if labels else label_of(objectives[index]),
            "objective": options_of(objectives[index]),
            "num_rollouts": objective.needs().num_rollouts or None,
            "temperature": objective.needs().temperature,
            "loss": policy.loss(hidden_TD, next_T, keys_T, objective, draws_seed),
            "sum_of_losses": sum(part["objectives"][index]["loss"] for part in parts),
            "notes": their_notes,
        }
        for index, (objective, their_notes) in enumerate(shown)
    ]
    by_token = dict(zip((positions + 1).tolist(), parts, strict=True))
    tokens = [
        {
            "id": word,
            "text": text_of.shown(word),
            "ends_line": text_of.ends_line(word),
            "supervised": index in by_token,
            **by_token.get(index, {}),
        }
        for index, word in enumerate(ids_T.tolist())
    ]
    return {
        "row": example.row,
        "source": example.source,
        "num_tokens": len(tokens),
        "num_supervised": len(parts),
        "notes": notes,
        "objectives": summaries,
        "tokens": tokens,
    }


def _learned(example: ChosenExample) -> Tensor:
    """The positions among those shown whose label, the token after them, is learned."""
    return (example.labels_T[1:MOST_TOKENS] != IGNORED).nonzero()[:, 0]


def _without_schedule(objective: Objective) -> tuple[Objective, list[str]]:
    """The objective as it can be shown for one example and one model, and what was left out."""
    notes = []
    if objective.anchor is not None:
        notes.append(
            "without its anchor, which adds nothing while the policy is still its reference"
        )
        objective = dataclasses.replace(objective, anchor=None)
    scheduled = objective.at(1.0)
    if scheduled != objective:
        notes.append("as at the end of its schedule")
    return scheduled, notes


def label_of(objective: Objective) -> str:
    """The objective's name in capitals, and the options that are not its defaults."""
    return label_in_words(objective.name, set_options(objective))
