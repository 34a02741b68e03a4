// A run's pages without reloading. Without this script they reload themselves while the run is at work.
"use strict";
const live = document.querySelector("[data-live]");
const log = document.querySelector("[data-log]");
const LINES = 2000;
if (live && "EventSource" in window) {
  const wanted = log ? new URLSearchParams({ after: log.dataset.log, level: log.dataset.level, q: log.dataset.q }) : "after=999999999999999999";
  const source = new EventSource(`${live.dataset.live}?${wanted}`);
  source.addEventListener("progress", (event) => {
    const now = JSON.parse(event.data);
    for (const place of document.querySelectorAll("[data-figure]")) {
      const figure = now.figures[place.dataset.figure];
      if (figure !== undefined) place.textContent = figure;
    }
    const transfers = document.querySelector("[data-transfers]");
    if (transfers) {
      const box = document.createElement("template");
      box.innerHTML = now.transfers;
      transfers.replaceChildren(box.content);
      transfers.closest("section").hidden = !now.transfers.trim();
    }
    const fresh = document.querySelector("[data-fresh]");
    if (fresh) {
      fresh.dataset.shown ??= now.figures[fresh.dataset.fresh];
      fresh.hidden = fresh.dataset.shown === String(now.figures[fresh.dataset.fresh]);
    }
    for (const [name, text] of [["state", now.state], ["took", now.took]]) {
      const place = document.querySelector(`[data-${name}]`);
      if (place && place.textContent !== text) place.textContent = text;
    }
  });
  source.addEventListener("log", (event) => {
    if (!log) return;
    const box = document.createElement("template");
    box.innerHTML = JSON.parse(event.data).html;
    log.append(box.content);
    while (log.children.length > LINES) log.firstElementChild.remove();
    log.parentElement.hidden = false;
    document.querySelector("[data-missing]")?.remove();
  });
  source.addEventListener("end", () => { source.close(); location.reload(); });
}
