// The page after this one is there already: it is shown at once when a label is sent, and becomes the one to label when
// the answer comes. Without this script the answer alone brings it.
"use strict";

document.addEventListener("htmx:beforeRequest", (event) => {
  if (!event.target.dataset || event.target.dataset.next !== "yes") return;
  const item = document.getElementById("item");
  const upcoming = document.getElementById("upcoming");
  if (!item || !upcoming) return;
  item.hidden = true;
  upcoming.hidden = false;
});

// What was shown too early goes back where the label could not be kept.
document.addEventListener("htmx:responseError", () => {
  const item = document.getElementById("item");
  const upcoming = document.getElementById("upcoming");
  if (item) item.hidden = false;
  if (upcoming) upcoming.hidden = true;
});
