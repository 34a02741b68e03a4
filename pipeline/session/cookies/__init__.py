"""The cookies of a spider: the cookie jar and its file, parsing, imports, and the cookies of the last login."""
