"""Compose one e-mail from rendered text and write it to a file: MIME, attachments, DKIM signature."""
