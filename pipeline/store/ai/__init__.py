"""What the language model was asked: its requests, their tokens and their outcomes."""
