"""`otr train`: fine-tune a model as a run file says."""

import argparse
import sys

from otr.commands.group import is_first, left_in_the_end
from otr.commands.recipe import add_recipe_arguments, recipe_of

_EXAMPLE = """example:
  otr train recipe.yaml objective.num_rollouts=64 training.learning_rate=2e-5

A run file:
  model: demo               # a hub id, a folder, or demo for the embedded model
  data: {train: rows.jsonl, prompt: question, completion: answer}
  objective: {name: otr}    # or sft, dft, power, …, and its options
  training:                 # any field of TRL's SFTConfig
    learning_rate: 1.0e-4
    max_steps: 100
  output_dir: runs/first

The run folder gets metrics.jsonl, samples.jsonl and model/, which
`from_pretrained` loads. If it was stopped or killed, the same command resumes
from the newest whole checkpoint. Exit status 75 if a signal stopped it, 1 if
steps in a row were not finite."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.epilog = _EXAMPLE
    add_recipe_arguments(parser)
    parser.add_argument(
        "--restart",
        action="store_true",
        help="begin anew, and replace the run that output_dir already holds",
    )


def run(arguments: argparse.Namespace) -> int:
    """Train, and say where the run lies."""
    from otr.quiet import quiet_libraries

    recipe = recipe_of(arguments)
    quiet_libraries()
    from otr.training.pipeline import train

    with left_in_the_end():
        folder = train(recipe, restart=arguments.restart)
    if is_first():
        print(f"trained: {folder / 'model'}", file=sys.stderr)
    return 0
