"""What the pages are made with: the templates, and how items and their changes are shown."""
