"""`pipeline`: the group of all commands, which prints an error as one line and sets the exit code.

The commands are in the package commands, with one module for each group of related commands. This module imports few other modules,
so that `pipeline --help` is fast.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from pipeline import __version__
from pipeline.cli.commands import (
    access,
    archive,
    completion,
    data,
    doctor,
    imports,
    logs,
    mail,
    mend,
    nodes,
    notify,
    pauses,
    run,
    serve,
    sessions,
    settings,
    spiders,
    status,
    stop,
    stored,
)
from pipeline.cli.suggestions import meant
from pipeline.errors import PipelineError, UsageError
from pipeline.text import escape_controls


class Pipeline(click.Group):
    """Prints a PipelineError as one line and exits with its exit code; only a bug causes a traceback."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in self.commands:
            found = meant(name, self.commands)
            raise click.UsageError(f"No such command {escape_controls(name)!r}" + (f": did you mean `pipeline {found}`?" if found else
                                   ": `pipeline --help` lists the commands"), ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PipelineError as error:
            click.echo(escape_controls(str(error)), err=True)
            ctx.exit(error.exit_code)
        except BrokenPipeError:  # the program that reads the output, such as `head`, has closed the pipe
            sys.stderr.close()
            ctx.exit(0)
        except OSError as error:  # concerns a path that the user gave; any other OSError is converted where it occurs
            if error.filename is None:
                raise
            click.echo(escape_controls(f"{os.fsdecode(error.filename)}: {(error.strerror or str(error)).lower()}"), err=True)
            ctx.exit(UsageError.exit_code)


@click.group(cls=Pipeline, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="pipeline")
@click.pass_context
def main(context: click.Context) -> None:
    """Crawl sites on a schedule, download files, mail digests of what changed, and report the status."""
    if context.invoked_subcommand not in ("init", "new"):  # these two commands write files that other users may read
        os.umask(0o077)  # all other commands may write data that needs a login: create folders with mode 0700 and files with mode 0600


for _command in (
        serve.serve, serve.reload, nodes.worker, nodes.nodes, run.run, stop.stop, pauses.pause, pauses.resume, spiders.suggest, spiders.new, spiders.try_page, spiders.shell, settings.check, settings.init, settings.schema, imports.import_jobs, imports.import_scrapy,
        status.status, status.ping, status.url, mail.digest, mail.outbox, mail.mail, notify.notify, stored.history, stored.next_slots, stored.items, logs.logs,
        mend.mend, doctor.doctor, data.backup, data.restore, data.migrate, data.migrate_store, data.prune, archive.archive, sessions.login, sessions.cookies, access.token, access.audit, completion.completion):
    main.add_command(_command)
