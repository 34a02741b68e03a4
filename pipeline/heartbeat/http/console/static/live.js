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
