"""From a digest's changes to subject, text and HTML."""
