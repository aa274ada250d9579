"""`farthing completion`: the script that makes the shell complete commands and options."""

from __future__ import annotations

import click

from farthing.cli.output import json_option, print_json

#: Where each shell wants the script's line, for the help that goes with it.
_PLACES = {
    "bash": 'Add to ~/.bashrc:  eval "$(farthing completion bash)"',
    "zsh": 'Add to ~/.zshrc:  eval "$(farthing completion zsh)"',
    "fish": "Run once:  farthing completion fish > ~/.config/fish/completions/farthing.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(sorted(_PLACES)))
@json_option
@click.pass_context
def completion(ctx: click.Context, shell: str, as_json: bool) -> None:
    """Print the shell completion script.

    \b
    bash: eval "$(farthing completion bash)"     in ~/.bashrc
    zsh:  eval "$(farthing completion zsh)"      in ~/.zshrc
    fish: farthing completion fish > ~/.config/fish/completions/farthing.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"This version of click does not know the shell {shell}.")
    writer = kind(ctx.find_root().command, {}, "farthing", "_FARTHING_COMPLETE")
    # Written out instead of `writer.source()`, which for bash runs `bash --version` first.
    script = writer.source_template % writer.source_vars()
    if as_json:
        print_json({"shell": shell, "use": _PLACES[shell], "script": script})
        return
    click.echo(script)
