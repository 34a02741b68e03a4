"""Find the notification channels in the settings, and open them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pipeline.errors import UsageError
from pipeline.mail.channels.text import ChannelText
from pipeline.mail.transports.channel import ChannelTransport
from pipeline.mail.transports.masked import MaskedTransport
from pipeline.settings import Settings
from pipeline.settings.fields.secret import Secret
from pipeline.settings.masking import Mask


def channels_of(settings: Settings) -> Iterator[tuple[str, Secret]]:
    """Yield the table and the secret of each entry of `notify`, such as ("digests.daily", …)."""
    for name, digest in settings.digests.items():
        yield from ((f"digests.{name}", secret) for secret in digest.notify)
        for number, group in enumerate(digest.groups, 1):
            yield from ((f"digests.{name}.groups.{number}", secret) for secret in group.notify)
    yield from (("alerts", secret) for secret in settings.alerts.notify)


class Channel(MaskedTransport):
    """A notification channel: a transport with all secrets of the settings masked in its errors."""

    def __init__(self, inner: ChannelTransport, mask: Callable[[], Callable[[str], str]]) -> None:
        super().__init__(inner, mask)
        self._channel = inner

    def send(self, text: ChannelText) -> str:
        """Send a text that is not in the outbox; return the name of the service. Raises MailError."""
        with self.masked_errors():
            return self._channel.send(text.as_dict())


def open_channel(settings: Callable[[], Settings], reference: str) -> Channel:
    """Return the transport of a channel. The URL is read from the current settings for each text, so that a new URL is used at once.

    In the transport's errors, all secrets of the settings are masked. settings: function that returns the current settings. reference:
    as the messages of the channel name it, such as "env:SLACK_URL".
    """
    def url() -> str:
        secret = next((secret for _, secret in channels_of(settings()) if secret.reference == reference), None)
        if secret is None:
            raise UsageError("the channel is no longer in the settings", fix="add it to `notify` again, or drop the message")
        try:
            return secret.reveal()
        except UsageError as error:
            error.retry = True  # a person can set the variable or create the file
            raise

    return Channel(ChannelTransport(reference, url), lambda: Mask.of(settings()))
