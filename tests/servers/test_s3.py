"""The S3 server of the tests keeps objects, and fails as a test asks."""

from __future__ import annotations

import pytest
import requests

from tests.servers.s3 import S3Server


def test_the_server_keeps_objects_while_its_address_fails(s3: S3Server) -> None:
    s3.put("a/b ü.txt", b"content")
    with s3.failing("refuse"), pytest.raises(requests.ConnectionError):
        requests.get(s3.url, timeout=5)
    with s3.failing("hang"), pytest.raises(requests.ReadTimeout):
        requests.get(s3.url, timeout=0.2)
    with s3.failing("503", times=1):
        assert [requests.get(f"{s3.url}/{s3.bucket}", timeout=5).status_code for _ in range(2)] == [503, 200]
    assert s3.objects() == {"a/b ü.txt": b"content"}
