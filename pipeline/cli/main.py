"""`pipeline`: the group of all commands, and how an error becomes one line and an exit code.

The commands are in commands/, a file for each family. `pipeline --help` answers at once: nothing else is imported here.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from pipeline import __version__
from pipeline.cli.commands import data, doctor, mail, run, serve, sessions, settings, spiders, status, stored
from pipeline.errors import PipelineError, UsageError
from pipeline.text import escape_controls


class Pipeline(click.Group):
    """Turns errors into one line and their exit code; a traceback is for our own faults only."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PipelineError as error:
            click.echo(escape_controls(str(error)), err=True)
            ctx.exit(error.exit_code)
        except BrokenPipeError:  # whoever read us has read enough
            sys.stderr.close()
            ctx.exit(0)
        except OSError as error:  # of a path that somebody named; one of our own has a place where it is translated
            if error.filename is None:
                raise
            click.echo(escape_controls(f"{os.fsdecode(error.filename)}: {(error.strerror or str(error)).lower()}"), err=True)
            ctx.exit(UsageError.exit_code)


@click.group(cls=Pipeline, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="pipeline")
@click.pass_context
def main(context: click.Context) -> None:
    """Scheduled crawls, streamed downloads, e-mailed digests, and a heartbeat that tells the truth."""
    if context.invoked_subcommand not in ("init", "new"):  # what those make is for an editor, and a repository
        os.umask(0o077)  # all else may hold what a login showed: folders are 0700 and files 0600, whatever the umask


for _command in (
        serve.serve, run.run, spiders.try_page, spiders.new, settings.check, settings.init, settings.schema,
        status.status, status.ping, status.url, mail.digest, mail.outbox, mail.mail, stored.history, stored.next_slots, stored.items,
        doctor.doctor, data.backup, data.restore, data.prune, sessions.login, sessions.cookies):
    main.add_command(_command)
