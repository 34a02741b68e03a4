"""What the pages and the API do: plain functions on the store and the settings, one module a subject."""
