"""The command line `pipeline`: the commands, their options, what they do, and their output."""
