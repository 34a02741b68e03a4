"""The pages of the browser: contexts with cookies and web storage, steps, waits, and scripts in a world of their own."""
