"""Several processes of one run, each with a browser, share a login.

The token of the login is only in the web storage of the site.
"""

from __future__ import annotations

import json
import threading

import pytest

from pipeline.model import Outcome, Run
from pipeline.session.web_storage import WebStorage
from pipeline.store.session_files import LocalFile, SessionFile
from tests.crawl.conftest import Crawls
from tests.crawl.processes.test_leader_and_followers import perform
from tests.servers.pages import Answer, Asked, PageSite

PAGES = 8
WITHIN_S = 90.0
TABLES = """
[pipeline]
data_dir = "data"
{cluster}
[spiders.s]
start = {starts}
render = {{ wait_for = "p" }}
robots = false
retries = 0
user_agent = "{agent}"
processes = 2
concurrency = 2
items.key = ["id"]
items.fields = {{ id = "p" }}
[spiders.s.login]
url = "{site}/"
browser = true
check_url = "{site}/account"
check = "#user"
fields = {{ user = "ada" }}
"""
LOGIN = """<form><input name=user><button>Sign in</button></form><script>
document.forms[0].onsubmit = async event => {
  event.preventDefault();
  localStorage.token = await (await fetch('/api/login', {method: 'POST'})).text();
  location.href = '/account';
};</script>"""
PAGE = """<div id=app></div><script>
fetch('/api' + location.pathname, {headers: {Authorization: localStorage.token}}).then(async answer => {
  if (answer.ok) { localStorage['seen' + location.pathname] = 'yes'; app.innerHTML = await answer.text(); } else location.replace('/');
});</script>"""


class TokenSite(PageSite):
    """Pages that ask for their content with the token of the newest login. The first token ends after half of the pages.

    together: the header whose values must differ in two requests for content before any of them is answered; None means any two requests.
    """

    def __init__(self, together: str | None) -> None:
        super().__init__({"/": LOGIN, "/account": PAGE, "/api/login": self._log_in, "/api/account": self._account}
                         | {f"/{number}": PAGE for number in range(PAGES)} | {f"/api/{number}": self._content for number in range(PAGES)})
        self.logins = 0
        self._served = 0
        self.renewed: set[str] = set()  # the pages that were served with the second login
        self._together, self._waiting, self._met = together, set[str](), threading.Event()
        self._lock = threading.Lock()

    def _log_in(self, asked: Asked) -> Answer:
        self.logins += 1
        return Answer(f"token {self.logins}", headers={"Content-Type": "text/plain"})

    def _is_valid(self, asked: Asked) -> bool:
        valid = 2 if self._served >= PAGES // 2 else 1
        return asked.headers.get("Authorization") == f"token {valid}"

    def _account(self, asked: Asked) -> Answer:
        return Answer("<p id=user>ada</p>") if self._is_valid(asked) else Answer("no", 401)

    def _content(self, asked: Asked) -> Answer:
        with self._lock:
            self._waiting.add(asked.path if self._together is None else asked.headers[self._together])
            if len(self._waiting) == 2:
                self._met.set()
        assert self._met.wait(WITHIN_S)
        with self._lock:
            if not self._is_valid(asked):
                return Answer("no", 401)
            if self._served >= PAGES // 2:
                self.renewed.add("seen" + asked.path.removeprefix("/api"))
            self._served += 1
        return Answer(f"<p>{asked.path.removeprefix('/api/')}</p>")

    def tables(self, cluster: str = "", agent: str = "pytest") -> str:
        return TABLES.format(cluster=cluster, agent=agent, site=self.url, starts=json.dumps([f"{self.url}/{number}" for number in range(PAGES)]))

    def check(self, run: Run, keys: set[str], log: str, storage: SessionFile) -> None:
        assert (run.outcome, run.complete, run.progress.pages_failed) == (Outcome.SUCCEEDED, True, 0), f"{run.error}\n{log}"
        assert keys == {str(number) for number in range(PAGES)}
        assert self.logins == 2
        assert self.renewed
        assert WebStorage.open(storage).of(self.url).local.keys() >= self.renewed | {"token"}


@pytest.mark.needs("chromium")
def test_processes_with_a_browser_each_share_the_login_in_the_web_storage_and_its_renewal(crawls: Crawls) -> None:
    with TokenSite(together=None) as site:  # each process renders one page at a time
        crawls.write(site.tables().replace('[pipeline]\ndata_dir = "data"\n', ""))
        run = perform(crawls, within_s=2 * WITHIN_S)
        log = (crawls.settings.data_dir / "logs" / "runs" / f"{run.id}.log").read_text("utf-8")
        site.check(run, set(crawls.items()), log, LocalFile(crawls.settings.data_dir / "jars" / "s.storage"))
