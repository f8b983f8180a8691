/* The settings page: which time zone the browser believes in. It is only said; nothing changes unasked. */
(() => {
  "use strict";
  const guess = document.querySelector("#zone-guess");
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const known = [...document.querySelectorAll("#set-zone option")].find((one) => one.value === zone);
  guess.querySelector("b").textContent = guess.querySelector("button").value = zone;
  guess.hidden = !known || known.selected;
})();
