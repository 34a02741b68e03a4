"""The browser of a session: a second HTTP client, for pages that are built by JavaScript."""
