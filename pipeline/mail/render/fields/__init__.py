"""Show the fields of items as people read them: labels, formats, differences, and what is left out."""
