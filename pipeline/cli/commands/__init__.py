"""The commands, one module for each group of related commands.

A command imports the modules that it needs only when the command is executed, so that `pipeline --help` is fast.
"""
