"""Commands that fetch single pages in a child process.

`try`, `suggest`, `new spider --from` and `shell`.
"""
