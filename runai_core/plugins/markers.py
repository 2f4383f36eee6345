"""The markers of the plug-in interface: import `hookimpl` to write a plug-in.

A plug-in is a module whose functions are named as in `hookspecs` and marked
with ``@hookimpl``, announced by an entry point of the group ``runai.plugins``.
"""

from typing import Final

import pluggy

NAME: Final = "runai"
"""Name of the project in pluggy; the prefix of every hook."""

ENTRY_POINT_GROUP: Final = "runai.plugins"
"""Where a distribution announces its plug-in: ``<plug-in name> = "<module>"``."""

hookspec: Final = pluggy.HookspecMarker(NAME)
hookimpl: Final = pluggy.HookimplMarker(NAME)

__all__ = ["ENTRY_POINT_GROUP", "NAME", "hookimpl", "hookspec"]
