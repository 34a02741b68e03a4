"""The pages for people: a package for each thing that people do, the templates and the static files."""
