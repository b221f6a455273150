"""`otr completion`: what makes a shell complete otr's commands, options, names and settings."""

import argparse

_EXAMPLE = """example:
  otr completion bash > ~/.local/share/bash-completion/completions/otr
  otr completion zsh > ~/.zfunc/_otr     # ~/.zfunc in fpath before compinit
  otr completion fish > ~/.config/fish/completions/otr.fish
  eval "$(otr completion bash)"          # for this shell alone; zsh likewise

Completes commands, options, names of benchmarks and objectives, and the
settings of run and study files: otr train recipe.yaml training.learn<TAB>"""

SHELLS = ("bash", "zsh", "fish")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.epilog = _EXAMPLE
    parser.add_argument("shell", choices=SHELLS, help="the shell")


def run(arguments: argparse.Namespace) -> int:
    """Print the shell's script."""
    from argcomplete.shell_integration import shellcode

    print(shellcode(["otr"], shell=arguments.shell))
    return 0
