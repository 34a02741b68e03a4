"""Queries for the pages and the API: each is bounded, and continues where the page before it ended."""
