"""The pages for people: a renderer of templates, and one module of views for each page."""
