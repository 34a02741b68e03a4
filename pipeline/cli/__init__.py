"""The commands of `pipeline`: their options, what they do without a service, and their output."""
