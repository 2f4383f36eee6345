"""Commands that plug-ins bring."""

import os
from collections.abc import Mapping
from functools import cache

import click


@cache
def plugin_commands() -> Mapping[str, click.Command]:
    """Return the commands of all plug-ins, by name; a broken plug-in brings none."""
    from runai_core.cli.main import COMMANDS
    from runai_core.plugins.manager import load_plugins

    names = os.environ.get("RUNAI_PLUGINS")
    found, refused = load_plugins(tuple(names.split(",")) if names else None).commands(COMMANDS)
    for plugin in refused:
        click.echo(f"Warning: the commands of plug-in {plugin.name} are left out: {plugin.error}", err=True)
    return {name: command for name, command in found.items() if isinstance(command, click.Command)}
