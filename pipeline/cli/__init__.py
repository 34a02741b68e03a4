"""The commands of `pipeline`: their options, their work in the foreground, and their output."""
