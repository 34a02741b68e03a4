// The overview without reloading. Without this script the page reloads itself every 30 seconds.
"use strict";
const overview = document.querySelector("[data-live]");
const show = (html) => { const box = document.createElement("template"); box.innerHTML = html; return box.content; };
if (overview && "EventSource" in window) {
  const source = new EventSource(overview.dataset.live);
  source.addEventListener("rows", (event) => {
    const now = JSON.parse(event.data);
    const head = document.querySelector("[data-head]");
    if (now.head && head) head.replaceChildren(show(now.head));
    for (const [name, html] of Object.entries(now.rows)) {
      const row = document.querySelector(`[data-spider="${CSS.escape(name)}"]`);
      if (!row) continue;
      const fresh = show(`<table><tbody>${html}</tbody></table>`).querySelector("tr");
      if (fresh.dataset.state !== row.dataset.state) document.querySelector("[data-resort]").hidden = false;
      const focused = row.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      row.replaceWith(fresh);
      if (focused) fresh.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    }
  });
  source.addEventListener("reload", () => location.reload());
  // A stream that was refused, because too many are open, is not tried again by the browser.
  source.addEventListener("error", () => { if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 30000); });
}
const words = new Intl.RelativeTimeFormat(document.documentElement.lang, { style: "short" });
const units = [["day", 86400, 172800], ["hour", 3600, 3600], ["minute", 60, 60], ["second", 1, 0]];
setInterval(() => {
  for (const time of document.querySelectorAll("td time[title]")) {
    const seconds = (Date.parse(time.dateTime) - Date.now()) / 1000;
    const [unit, length] = units.find((each) => Math.abs(seconds) >= each[2]);
    time.textContent = words.format(Math.trunc(seconds / length), unit);
  }
}, 20000);
