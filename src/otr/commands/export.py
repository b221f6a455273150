"""`otr export`: write a trained model as one folder."""

import argparse
from pathlib import Path

from otr.errors import UserError
from otr.terminal import wrapped

_EXAMPLE = """example:
  otr export runs/first -o exported --merge --dtype bfloat16
  otr export runs/first -o for-llama-cpp --merge --dtype float16 --format gguf

The folder gets safetensors, tokenizer and chat template, whole or not at all.
An adapter is merged into its base in float32 and rounded once, afterwards; a
few prompts are answered before and after, by the files as they were written,
and the largest difference of a logit is printed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.epilog = _EXAMPLE
    parser.add_argument("model", help="a run folder, a model folder, a hub id, or demo")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="a folder not yet there"
    )
    parser.add_argument(
        "--merge",
        action="store_true",
        help="merge the adapter into its base; else an adapter stays one",
    )
    parser.add_argument(
        "--dtype",
        default="float32",
        choices=["float32", "bfloat16", "float16"],
        help="of the weights that are written (float32)",
    )
    parser.add_argument(
        "--format",
        default="safetensors",
        choices=["safetensors", "gguf"],
        help="of the files that are written (safetensors)",
    )
    parser.add_argument(
        "--converter",
        type=Path,
        metavar="PATH",
        help="llama.cpp's convert_hf_to_gguf.py, for gguf (the one on PATH)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Export, and print how far the written model is from the trained one."""
    if arguments.converter is not None and arguments.format != "gguf":
        raise UserError("--converter: is for --format gguf; leave it out")
    from otr.quiet import quiet_libraries

    quiet_libraries()
    from otr.training.export import export

    exported = export(
        arguments.model,
        arguments.output,
        merge=arguments.merge,
        dtype=arguments.dtype,
        as_gguf=arguments.format == "gguf",
        converter=arguments.converter,
    )
    print("\n".join(wrapped([*exported.lines(), f"exported: {arguments.output}"])))
    return 0
