/* The users table: one tick for the whole page, and how many are ticked. Without it each is ticked by itself. */
(() => {
  "use strict";
  const boxes = () => [...document.querySelectorAll("input[form=several]")];
  document.addEventListener("change", ({ target }) => {
    if (!(target instanceof HTMLInputElement) || !target.matches("[data-all], input[form=several]")) return;
    const all = document.querySelector("[data-all]");
    if (target === all) boxes().forEach((box) => { box.checked = all.checked; });
    const ticked = boxes().filter((box) => box.checked).length;
    all.checked = ticked === boxes().length;
    all.indeterminate = ticked > 0 && !all.checked;
    document.querySelector("#several .hint").textContent = ticked ? `${ticked} ticked:` : "Those who are ticked:";
  });
})();
