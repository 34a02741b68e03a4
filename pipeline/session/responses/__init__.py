"""What an HTTP answer says about itself, read alike for pages and files: its head, its framing, its content codings."""
