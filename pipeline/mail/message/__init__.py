"""From rendered text to one e-mail in a file: MIME structure, attachments, DKIM signature."""
