"""The commands of `pipeline`: their options, what they do in the foreground, and what they print."""
