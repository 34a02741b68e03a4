"""The commands, one module for each family. A command imports what it needs only when it runs."""
