"""docs/models.md from families/results.json."""

from pathlib import Path
from typing import Any

from otr import runs

RESULTS = Path(__file__).parent / "results.json"
DOCUMENT = Path(__file__).parents[1] / "docs" / "models.md"

_TEXT = """\
# Models

<!-- Written by `python -m families report` from `families/results.json`, which `make families` measures again. -->

Every architecture that transformers {transformers} lists for causal language modelling, and for text with images.

Each is built small from its own configuration class, with random weights, in a process of its own. One
training step of `OTRTrainer` with `OTR(num_rollouts="exact")`, the head fused, on padded rows of text, is
compared with the same step by autograd on the model's full logits, and with the router's loss where the model
returns one: the loss, and the gradient of every parameter, relative to its norm. It **passes** below
{tolerance:.0e} in float64, and below {rounded:.0e} where the model makes its own logits in float32. Nothing in
`src/` knows a model's name: the head is what `get_output_embeddings` says, and what becomes of its output is
measured by putting known values in its place.

| | text | text with images |
|---|---|---|
{counts}

**Refused** means that `OTRTrainer` raises an error at construction, with the reason below, and trains
nothing; a `ValueError` of its own but where the reason says `SFTTrainer`. **Not built** says nothing of the fused head: the tiny model could not be made here.

## Passes

Only the text of models that see images too is tried here; with images, see below. Errors are the largest of loss and gradients. The loss
that a model makes itself from labels is the mean NLL, with its router's loss where it has one: in {same} of
these. The trainer's loss is of the next token also where a model's own is not: {unshifted} take a label for
the token it stands at{other}.

| model type | head | router's loss | error |
|---|---|---|---|
{passes}

## With images

A step of `OTRTrainer` and of `with_fused_head` on images, text and labels is tested against the model's own logits,
its encoder of images included, on tiny models of these families; LLaVA also line by
line beside TRL's `SFTTrainer`, with its processor and TRL's conversations. <!-- `tests/training/test_images.py` -->

| family | the image reaches the model as |
|---|---|
| gemma3 | `pixel_values`, `token_type_ids` |
| llava | `pixel_values` |
| qwen2_vl | `pixel_values` of patches, `image_grid_thw`, `mm_token_type_ids` |
| smolvlm | several `pixel_values` a row |

Placeholders of images are not learned: [what that changes](features.md#images).

## Refused

| model type | reason |
|---|---|
{refused}

## Not built

| model type | reason |
|---|---|
{not_built}
"""


def document() -> str:
    """The whole page."""
    results = runs.read_json(RESULTS)
    found: list[dict[str, Any]] = results["architectures"]
    by_status = {
        status: [each for each in found if each["status"] == status]
        for status in ("passes", "refused", "not built", "differs")
    }
    counts = [
        f"| {status} | {_count(each, False)} | {_count(each, True)} |"
        for status, each in by_status.items()
        if each or status != "differs"
    ]
    reasons = {
        status: "\n".join(f"| {each['model_type']} | {_cell(each['reason'])} |" for each in found)
        for status, found in by_status.items()
    }
    others = ", ".join(_with_own_loss(by_status["passes"], "other"))
    return _TEXT.format(
        transformers=results["transformers"],
        tolerance=results["tolerance"],
        rounded=results["rounded_tolerance"],
        same=sum(each["step"]["own_loss"] == "same" for each in by_status["passes"]),
        unshifted=", ".join(_with_own_loss(by_status["passes"], "unshifted")),
        other=f"; of {others} neither was had" if others else "",
        counts="\n".join(counts),
        passes="\n".join(map(_passing_line, by_status["passes"])),
        refused=reasons["refused"],
        not_built=reasons["not built"],
    )


def _count(found: list[dict[str, Any]], sees: bool) -> int:
    return sum(each["sees_images"] is sees for each in found)


def _with_own_loss(found: list[dict[str, Any]], kind: str) -> list[str]:
    return [each["model_type"] for each in found if each["step"]["own_loss"] == kind]


def _passing_line(each: dict[str, Any]) -> str:
    head, step = each["head"], each["step"]
    words = [word for word in ("tied", "biased") if head[word]]
    if head["scale"] != 1:
        words.append(f"scale {head['scale']:g}")
    if head["softcap"] is not None:
        words.append(f"softcap {head['softcap']:g}")
    if head["cut"]:
        words.append("cut vocabulary")
    error = max(step["loss_error"], step["gradient_error"])
    router = "" if step["aux_loss"] is None else "yes"
    return f"| {each['model_type']} | {', '.join(words)} | {router} | {error:.0e} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
