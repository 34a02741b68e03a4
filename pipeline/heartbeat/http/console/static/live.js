// A run's page without reloading. Without this script the page reloads itself while the run is at work.
"use strict";
const live = document.querySelector("[data-live]");
if (live && "EventSource" in window) {
  const source = new EventSource(live.dataset.live);
  source.addEventListener("progress", (event) => {
    const now = JSON.parse(event.data);
    for (const place of document.querySelectorAll("[data-figure]")) {
      const figure = now.figures[place.dataset.figure];
      if (figure !== undefined) place.textContent = figure;
    }
    document.querySelector("[data-state]").textContent = now.state;
    document.querySelector("[data-took]").textContent = now.took;
    const log = document.querySelector("[data-log]");
    if (log && log.textContent !== now.log) log.textContent = now.log;
  });
  source.addEventListener("end", () => { source.close(); location.reload(); });
}
