// What works on every page: without this script all of it can still be reached with links and forms.
"use strict";

// A range and a number field that carry the same data-with show the same value.
document.addEventListener("input", (event) => {
  const name = event.target.dataset && event.target.dataset.with;
  if (!name) return;
  for (const other of document.querySelectorAll(`[data-with="${CSS.escape(name)}"]`)) {
    if (other !== event.target) other.value = event.target.value;
  }
});

// Keys: an element with data-key is clicked when its key is pressed, unless somebody is writing.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const at = event.target;
  if (at.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName)) {
    if (event.key === "Escape") at.blur();
    return;
  }
  const found = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (!found) return;
  event.preventDefault();
  if (found.dataset.does === "focus") found.focus();
  else found.click();
});

// A form with data-confirm asks before it is sent.
document.addEventListener("submit", (event) => {
  const question = event.target.dataset && event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});
