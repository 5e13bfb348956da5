"""
Completion of the command line, in three shells.
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["completion"]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """
    Print the completion script of a shell.

    \b
      bash:  eval "$(sipgrace completion bash)"                     in ~/.bashrc
      zsh:   eval "$(sipgrace completion zsh)"                      in ~/.zshrc
      fish:  sipgrace completion fish > ~/.config/fish/completions/sipgrace.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(context.find_root().command, {}, "sipgrace", "_SIPGRACE_COMPLETE").source())
