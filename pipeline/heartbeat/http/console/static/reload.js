// Loads the page again while something on it is in progress. Without this script the page reloads itself, too.
"use strict";
const pending = document.querySelector("[data-reload]");
if (pending) setTimeout(() => location.reload(), 1000 * Number(pending.dataset.reload));
