"""The cookies of a spider: the cookie jar and its file, parsing, imports, cookies of the last login."""
