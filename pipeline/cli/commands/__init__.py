"""The commands by family: their options and what they print. Each imports what it needs when it runs."""
