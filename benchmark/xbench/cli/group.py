"""A group of commands whose help is a table of contents."""

from __future__ import annotations

import click


class Group(click.Group):
    """Lists commands as they were added, each with its whole first sentence.

    Click sorts them by the alphabet and cuts the sentences off at the end of the line.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which the commands were added."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command with its sentence, on several lines where it is long."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, c.get_short_help_str(limit=1000)) for name, c in self.commands.items()]
            )
