"""The process of the browser: which program, how it is started, its profile, its memory and its end."""
