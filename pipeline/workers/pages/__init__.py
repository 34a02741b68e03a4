"""Tasks that a child process performs on single pages of a spider.

`pipeline try`, `suggest`, `mend` and `shell`.

Each module has `perform(store, settings, name, options)`, which returns the result as JSON; pipeline.cli.pages.child starts it.
"""
