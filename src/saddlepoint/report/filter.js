"use strict";
// The page is complete without this script; it adds the choice of what the gallery shows.
(function () {
  const bar = document.getElementById("filters");
  if (!bar) return;
  const items = Array.from(document.querySelectorAll("#gallery [data-subject]"));
  const choices = Array.from(bar.querySelectorAll("select"));
  const shown = document.getElementById("shown");
  function apply() {
    let count = 0;
    for (const item of items) {
      const fits = choices.every((c) => c.value === "" || item.dataset[c.name] === c.value);
      item.hidden = !fits;
      count += fits ? 1 : 0;
    }
    shown.textContent = count + " of " + items.length;
  }
  bar.hidden = false;
  bar.addEventListener("change", apply);
  apply(); // a reloaded page may have kept the choices
})();
