"""The cookies of a spider: the jar and its file, parsing, imports, and cookies of the last login."""
