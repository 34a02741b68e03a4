"""How the fields of items, and their changes, are shown to people: in mails and on pages."""
