"""The entry point of the script `pipeline` and of `python -m pipeline`.

The commands are imported inside main(), because multiprocessing imports this module in every child process, which needs no commands.
"""


def main() -> None:
    """Run the command that the command line names, with its arguments."""
    from pipeline.cli.main import main as run_command  # noqa: PLC0415

    run_command()


if __name__ == "__main__":
    main()
