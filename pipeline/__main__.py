"""The entry point of the script `pipeline` and of `python -m pipeline`.

multiprocessing imports the main script again in every child process. The commands are therefore imported in main() only.
"""


def main() -> None:
    """Run a command with the arguments of the command line."""
    from pipeline.cli.main import main as run_command  # noqa: PLC0415

    run_command()


if __name__ == "__main__":
    main()
