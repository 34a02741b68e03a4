"""The language model: what it is shown of changes, how it is asked, and what its answers may be.

Only this package imports openai, and only when a request is sent. The model is never trusted: what a site wrote is data between lines
with a random boundary, an answer must match a schema, and its text is shown as plain text.
"""
