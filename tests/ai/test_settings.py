"""Tests of mistakes in [ai]: each says what is wrong, and how to write it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.errors import SettingsError
from pipeline.settings import Settings


@pytest.mark.parametrize(("lines", "said"), [
    ('model = "m"', "ai.base_url: is missing: URL of the API"),
    ('base_url = "http://127.0.0.1/v1"', "ai.model: is missing: name of the model"),
    ('base_url = "127.0.0.1:8080/v1"\nmodel = "m"', "is not an http(s) URL; write http://127.0.0.1:8080/v1"),
    ('base_url = "https://me:pa55word@api.example.com/v1"\nmodel = "m"', "the URL must not contain a user name, a password, a query or a fragment"),
    ('base_url = "http://127.0.0.1/v1"\nmodel = "m"\napi_key = "sk-pa55word"', "secrets are not allowed in the settings file"),
    ('base_url = "http://127.0.0.1/v1"\nmodel = "m"\nmax_time = "6m"', "the time must be more than 0 and at most 5m"),
    ('base_url = "http://127.0.0.1/v1"\nmodel = "m"\ntimeout = "0s"', "the time must be more than 0 and at most 5m"),
    ('base_url = "http://127.0.0.1/v1"\nmodel = "m"\nmask = ["names"]', "ai.mask[0]: should be 'email', 'phone', 'iban' or 'card', found 'names'"),
    ('base_url = "http://127.0.0.1/v1"\nmodel = "m"\nmask_patterns = ["("]', "'(' is not a regular expression"),
    ('base_url = "http://127.0.0.1/v1"\nmodel = "m"\nmask_patterns = ["x*"]', "'x*' also matches an empty text"),
    ('base_url = "http://127.0.0.1/v1"\nmodel = "m"\ncurrency = "euro"', "ai.currency"),
    ('base_url = "http://127.0.0.1/v1"\nmodel = "m"\nprice_input = nan', "ai.price_input"),
    ('base_url = "http://127.0.0.1/v1"\nmodell = "m"', "ai.modell: unknown key (did you mean 'model'?)")])
def test_a_mistake_is_named(settings_from: Callable[[str], Settings], lines: str, said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        settings_from(f"[ai]\n{lines}\n")
    assert said in str(raised.value)
    assert "pa55word" not in str(raised.value)
