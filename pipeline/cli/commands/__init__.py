"""The commands, one module for each group. A command imports what it needs only when it runs."""
