"""Pages in a browser: rendering, pictures, and the comparison of pictures."""
