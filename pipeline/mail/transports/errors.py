"""Describe errors of an SMTP session for users: what happened, and how to fix the problem."""

from __future__ import annotations

import smtplib
import socket
import ssl

from pipeline.text import clean_line


def reply_line(code: int, text: bytes | str) -> str:
    """Return a server's reply as one line, such as `550 no such user`."""
    words = reply_text(text)
    return f"{code} {words}".strip() if code > 0 else words


def reply_text(text: bytes | str) -> str:
    """Return the text of a server's reply on one line of at most 300 characters."""
    return clean_line(text.decode("utf-8", "replace") if isinstance(text, bytes) else text, 300)


def reason(error: BaseException) -> str:
    """Return the text of an error of the operating system or of TLS, without error number and file names."""
    return clean_line(getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error), 200)


def explain(error: OSError | ValueError, *, doing: str, user: str | None, timeout_s: float) -> tuple[str, str]:
    """Return two texts about an error: what happened, and how to fix the problem.

    The second text is "" if the user can only wait. doing: the step that failed, such as "connecting". user: user name for the mail
    server; None means that no login is configured. timeout_s: time limit for a reply of the server.
    """
    what, fix = f"{reason(error)} while {doing}", ""
    match error:
        case smtplib.SMTPException():
            what, fix = _explain_smtp(error, doing, user, timeout_s)
        case ssl.SSLCertVerificationError():
            why = clean_line(error.verify_message or str(error), 200)
            what = f"the server's certificate is not trusted: {why}"
            fix = ("renew the certificate on the server, set [mail] host to the name in the certificate, or add its certificate "
                   "authority with [mail] ca_file")
        case ssl.SSLError():
            what = f"TLS failed: {reason(error)}"
            fix = "correct `port` and `security` in [mail]: port 465 needs \"tls\", port 587 needs \"starttls\""
        case socket.gaierror():
            what, fix = "the host name cannot be resolved", "check [mail] host and the network"
        case ConnectionRefusedError():
            what, fix = "connection refused", "check [mail] host and port, or start the server"
        case TimeoutError():
            what = f"no reply within {timeout_s:g} s while {doing}"
        case UnicodeEncodeError():
            what = "the user name or the password contains characters that SMTP authentication does not support"
            fix = "use an app password of ASCII characters"
        case _:
            pass
    return what, fix


def _explain_smtp(error: smtplib.SMTPException, doing: str, user: str | None, timeout_s: float) -> tuple[str, str]:
    what, fix = f"{reason(error)} while {doing}", ""
    match error:
        case smtplib.SMTPAuthenticationError() if 400 <= error.smtp_code < 500:
            what = f"the server cannot check the password at the moment: {reply_line(error.smtp_code, error.smtp_error)}"
        case smtplib.SMTPAuthenticationError():
            what = f"the server refused the password of {user!r}: {reply_line(error.smtp_code, error.smtp_error)}"
            fix = "correct [mail] password; many providers (QQ, 163, Gmail) require an app password"
        case smtplib.SMTPResponseException():
            what = f"the server replied with an error while {doing}: {reply_line(error.smtp_code, error.smtp_error)}"
        case smtplib.SMTPServerDisconnected() if isinstance(error.__context__, TimeoutError):
            what = f"no reply within {timeout_s:g} s while {doing}"
        case smtplib.SMTPServerDisconnected():
            what = f"the server closed the connection while {doing}"
        case smtplib.SMTPNotSupportedError() if "STARTTLS" in str(error):
            what, fix = "the server does not offer STARTTLS", "set security = \"tls\" and the server's TLS port, usually 465"
        case _ if "auth" in str(error).lower():
            what = f"the server does not support authentication on this port ({clean_line(str(error), 120)})"
            fix = "change [mail] port or security, or remove user and password"
        case _:
            pass
    return what, fix
