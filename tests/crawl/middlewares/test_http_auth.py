"""HTTP authentication of a whole spider: start, pages, files, robots.txt and login, and no other host."""

from __future__ import annotations

import hashlib
import re
import threading

import pytest

from pipeline.model import Outcome
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, Asked, PageSite

BASIC = "Basic bWU6Z2VoZWlt"  # me:geheim


class DigestGuard:
    """Accepts correct answers to its challenge (RFC 7616, qop=auth). A nonce is valid for `uses` requests, each count once."""

    def __init__(self, algorithm: str = "MD5", uses: int = 1000, *, says_stale: bool = True) -> None:
        self._algorithm, self._uses, self._says_stale = algorithm, uses, says_stale
        self._counts: dict[str, set[str]] = {}
        self._lock = threading.Lock()
        self.challenges = 0

    def refuse(self, *, stale: bool = False) -> Answer:
        self.challenges += 1
        nonce = f"nonce{self.challenges}"
        self._counts[nonce] = set()
        return Answer("who?", 401, {"WWW-Authenticate": f'Digest realm="club", nonce="{nonce}", qop="auth", opaque="o", '
                                                        f"algorithm={self._algorithm}{', stale=true' if stale else ''}"})

    def problem(self, asked: Asked) -> Answer | None:
        with self._lock:
            header = asked.headers.get("Authorization", "")
            given = {name: quoted or bare for name, quoted, bare in re.findall(r'(\w+)=(?:"([^"]*)"|([^,\s]*))', header)}
            if not header.startswith("Digest ") or given["nonce"] not in self._counts:
                return self.refuse()

            def hashed(text: str) -> str:
                return hashlib.new("sha256" if "256" in self._algorithm else "md5", text.encode()).hexdigest()
            wanted = hashed(f"{hashed('me:club:geheim')}:{given['nonce']}:{given['nc']}:{given['cnonce']}:auth:"
                            + hashed(f"{asked.method}:{asked.path}"))
            counts = self._counts[given["nonce"]]
            if given["response"] != wanted or given["uri"] != asked.path or given["nc"] in counts:
                return self.refuse()
            if len(counts) >= self._uses:
                return self.refuse(stale=self._says_stale)
            counts.add(given["nc"])
            return None


def behind(guard: DigestGuard | None, answer: Answer | str) -> object:
    def page(asked: Asked) -> Answer:
        if guard is not None:
            refused = guard.problem(asked)
        else:
            refused = None if asked.headers.get("Authorization") == BASIC else Answer("who?", 401, {
                "WWW-Authenticate": 'Basic realm="club"'})
        return refused or (answer if isinstance(answer, Answer) else Answer(answer))
    return page


def settings(site: PageSite, kind: str, extra: str = "") -> str:
    return f"""
        [spiders.s]
        start = "{site.url}/"
        auth = {{ type = "{kind}", user = "me", password = {{ env = "CLUB" }} }}
        follow = ["a.n"]
        download = ["a.f"]
        retries = 0
        {extra}
        [spiders.s.items.fields]
        text = "p"
        """


def fill(site: PageSite, guard: DigestGuard | None) -> None:
    site.pages = {"/": behind(guard, '<p>start</p><a class=n href="/p/1?a=b%20c">1</a><a class=n href=/moved>2</a>'  # type: ignore[dict-item]
                                     "<a class=n href=/secret>3</a><a class=f href=/files/a.csv>f</a>"),
                  "/p/1": behind(guard, "<p>one</p>"), "/p/2": behind(guard, "<p>two</p>"),  # type: ignore[dict-item]
                  "/moved": behind(guard, Answer(status=302, headers={"Location": "/p/2"})),  # type: ignore[dict-item]
                  "/secret": behind(guard, "<p>robots</p>"), "/files/a.csv": behind(guard, "a,b"),  # type: ignore[dict-item]
                  "/robots.txt": behind(guard, Answer("User-agent: *\nDisallow: /secret", headers={  # type: ignore[dict-item]
                      "Content-Type": "text/plain"}))}


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUB", "geheim")


@pytest.mark.parametrize("guard", [None, DigestGuard(), DigestGuard("SHA-256"), DigestGuard(uses=1),
                                   DigestGuard(uses=2, says_stale=False)],
                         ids=["basic", "digest", "SHA-256", "one nonce a request", "no word of stale"])
def test_pages_files_and_robots_txt_are_fetched_with_http_authentication(crawls: Crawls, site: PageSite, guard: DigestGuard | None) -> None:
    fill(site, guard)
    crawls.write(settings(site, "digest" if guard else "basic", "concurrency = 1"))
    run = crawls.perform()
    assert (run.outcome, run.complete, run.progress.pages_failed) == (Outcome.SUCCEEDED, True, 1)
    assert "/secret: robots.txt forbids this URL" in run.error
    assert {item["text"] for item in crawls.items().values()} == {"start", "one", "two"}
    assert (crawls.folder / "data/downloads/s/a.csv").read_text() == "a,b"
    assert not any(asked.path == "/secret" for asked in site.asked)


def test_one_digest_nonce_is_used_for_many_requests(crawls: Crawls, site: PageSite) -> None:
    guard = DigestGuard()
    links = "".join(f'<a class=n href="/p?n={number}">{number}</a>' for number in range(40))
    site.pages = {"/": behind(guard, f"<p>start</p>{links}"), "/p": behind(guard, "<p>page</p>")}  # type: ignore[dict-item]
    crawls.write(settings(site, "digest", "robots = false\n        concurrency = 8"))
    assert crawls.run().complete
    assert guard.challenges == 1
    assert len(site.asked) == 42


@pytest.mark.parametrize("kind", ["basic", "digest"])
def test_the_credentials_are_sent_to_no_other_host(crawls: Crawls, site: PageSite, kind: str) -> None:
    with PageSite() as other:
        refusal = Answer("<p>x</p>", 401, {"WWW-Authenticate": 'Digest realm="club", nonce="n", qop="auth", Basic realm="x"'})
        other.pages = {"/a": refusal, "/b": refusal, "/c.csv": refusal, "/robots.txt": refusal}
        guard = DigestGuard() if kind == "digest" else None
        fill(site, guard)
        site.pages["/"] = behind(guard, f"<p>start</p><a class=n href={other.url}/a>1</a><a class=n href=/away>2</a>"  # type: ignore[assignment]
                                        f"<a class=f href={other.url}/c.csv>f</a>")
        site.pages["/away"] = behind(guard, Answer(status=302, headers={"Location": f"{other.url}/b"}))  # type: ignore[assignment]
        crawls.write(settings(site, kind, f'hosts = ["{other.host}"]'))
        run = crawls.perform()
        assert run.outcome is Outcome.SUCCEEDED
        assert {asked.path for asked in other.asked} >= {"/a", "/b", "/robots.txt"}
        assert not any("Authorization" in asked.headers for asked in other.asked)


@pytest.mark.parametrize(("kind", "words"), [
    ("basic", "{url}/ did not accept the user name or password of the `auth` setting (realm “club”); correct auth.user or auth.password"),
    ("digest", "requires basic authentication, not digest; correct auth.type")])
def test_a_wrong_password_ends_the_run_with_the_reason(crawls: Crawls, site: PageSite, monkeypatch: pytest.MonkeyPatch,
                                                       kind: str, words: str) -> None:
    monkeypatch.setenv("CLUB", "wrong")
    fill(site, None)
    crawls.write(settings(site, kind))
    run = crawls.run()
    assert run.outcome is Outcome.FAILED
    assert words.format(url=site.url) in run.error
    assert "wrong" not in run.error.replace("wrong password", "")


def test_a_wrong_digest_password_is_tried_once(crawls: Crawls, site: PageSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUB", "wrong")
    guard = DigestGuard()
    fill(site, guard)
    crawls.write(settings(site, "digest", "robots = false"))
    run = crawls.run()
    assert "did not accept the user name or password of the `auth` setting" in run.error
    assert [asked.path for asked in site.asked] == ["/", "/"]


def test_a_page_refused_after_others_were_accepted_fails_alone(crawls: Crawls, site: PageSite) -> None:
    fill(site, None)
    site.pages["/p/1?a=b%20c"] = Answer("not you", 401, {"WWW-Authenticate": 'Basic realm="staff"'})
    crawls.write(settings(site, "basic", "robots = false"))
    run = crawls.run()
    assert (run.outcome, run.progress.pages_failed) == (Outcome.SUCCEEDED, 1)
    assert "HTTP 401" in run.error


def test_a_login_form_that_needs_http_authentication_is_fetched(crawls: Crawls, site: PageSite) -> None:
    guard = DigestGuard()
    inside = behind(guard, "<p>in</p><a href=/logout>out</a>")
    form = behind(guard, "<form method=post><input name=user><input type=password name=pass></form>")
    site.pages = {"/": inside, "/in": inside}  # type: ignore[dict-item]
    entered = behind(guard, Answer(status=302, headers={"Location": "/in", "Set-Cookie": "sid=1"}))
    site.pages["/login"] = lambda asked: (form if asked.method == "GET" else entered)(asked)  # type: ignore[operator]
    crawls.write(settings(site, "digest", "robots = false") + f"""
        [spiders.s.login]
        url = "{site.url}/login"
        check = "a[href*=logout]"
        fields = {{ user = "me", pass = {{ env = "CLUB" }} }}
        """)
    run = crawls.run()
    assert (run.outcome, run.complete) == (Outcome.SUCCEEDED, True)
    assert "sid=1" in site.asked[-1].headers["Cookie"]


def test_no_credentials_are_stored(crawls: Crawls, site: PageSite) -> None:
    fill(site, None)
    crawls.write(settings(site, "basic"))
    crawls.perform()
    for file in (crawls.folder / "data").rglob("*"):
        assert not file.is_file() or not any(secret in file.read_bytes() for secret in (b"geheim", BASIC[6:].encode()))
