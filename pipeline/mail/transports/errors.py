"""What can go wrong between us and a mail server, in words: what happened, and what to do about it."""

from __future__ import annotations

import smtplib
import socket
import ssl

from pipeline.text import clean_line


def said(code: int, text: bytes | str) -> str:
    """A server's answer as one line: `550 no such user`."""
    words = reply_text(text)
    return f"{code} {words}".strip() if code > 0 else words


def reply_text(text: bytes | str) -> str:
    """The text of a server's answer, on one line and no longer than a line should be."""
    return clean_line(text.decode("utf-8", "replace") if isinstance(text, bytes) else text, 300)


def reason(error: BaseException) -> str:
    """Why the system or TLS refused, without errno and file names."""
    return clean_line(getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error), 200)


def explained(error: OSError | ValueError, *, doing: str, user: str | None, timeout_s: float) -> tuple[str, str]:
    """What happened and the fix ("" when there is none but to wait)."""
    what, fix = f"{reason(error)} while {doing}", ""
    match error:
        case smtplib.SMTPException():
            what, fix = _smtp(error, doing, user, timeout_s)
        case ssl.SSLCertVerificationError():
            why = clean_line(error.verify_message or str(error), 200)
            what = f"its certificate is not to be trusted: {why}"
            fix = ("renew it there, set [mail] host to the name it is made out to, or trust its authority with "
                   "[mail] ca_file")
        case ssl.SSLError():
            what = f"TLS failed: {reason(error)}"
            fix = "port and security may not fit together: 465 is \"tls\", 587 is \"starttls\""
        case socket.gaierror():
            what, fix = "no host of this name is known", "check [mail] host and the network"
        case ConnectionRefusedError():
            what, fix = "nothing listens there", "check [mail] host and port, or start the server"
        case TimeoutError():
            what = f"no answer within {timeout_s:g} s while {doing}"
        case UnicodeEncodeError():
            what = "user or password holds characters that SMTP AUTH does not carry"
            fix = "use an app password"
        case _:
            pass
    return what, fix


def _smtp(error: smtplib.SMTPException, doing: str, user: str | None, timeout_s: float) -> tuple[str, str]:
    what, fix = f"{reason(error)} while {doing}", ""
    match error:
        case smtplib.SMTPAuthenticationError() if 400 <= error.smtp_code < 500:
            what = f"the server cannot check passwords now: {said(error.smtp_code, error.smtp_error)}"
        case smtplib.SMTPAuthenticationError():
            what = f"the server refused the password of {user!r}: {said(error.smtp_code, error.smtp_error)}"
            fix = "correct [mail] password; many providers (QQ, 163, Gmail) want an app password"
        case smtplib.SMTPResponseException():
            what = f"the server refused while {doing}: {said(error.smtp_code, error.smtp_error)}"
        case smtplib.SMTPServerDisconnected() if isinstance(error.__context__, TimeoutError):
            what = f"no answer within {timeout_s:g} s while {doing}"
        case smtplib.SMTPServerDisconnected():
            what = f"the server closed the connection while {doing}"
        case smtplib.SMTPNotSupportedError() if "STARTTLS" in str(error):
            what, fix = "the server offers no STARTTLS", "use security = \"tls\" with its TLS port, mostly 465"
        case _ if "auth" in str(error).lower():
            what = f"the server takes no login here ({clean_line(str(error), 120)})"
            fix = "use another port or security, or leave out user and password"
        case _:
            pass
    return what, fix
