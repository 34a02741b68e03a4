"""The pages of one spider: its state, changes and downloads; adding, editing and mending it."""
