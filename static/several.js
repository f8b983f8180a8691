/* The users table: one tick for the whole page, Shift for all between two, a whole cell to press on, how many are
   ticked, and all of them sent as one field, for a form may have 200. Without it each is ticked by itself. */
(() => {
  "use strict";
  const boxes = () => [...document.querySelectorAll("input[form=several]")];
  let last; // the box that was pressed before this one
  document.addEventListener("formdata", ({ target, formData }) => {
    if (target.id !== "several") return;
    formData.set("users", formData.getAll("user").join(","));
    formData.delete("user");
  });
  document.addEventListener("click", ({ target, shiftKey }) => {
    if (!(target instanceof Element)) return;
    if (target.matches(".tick")) return target.querySelector("input").click();
    if (!target.matches("input[form=several]")) return;
    const all = boxes();
    const [from, to] = [all.indexOf(last), all.indexOf(target)].sort((a, b) => a - b);
    if (shiftKey && from >= 0) all.slice(from, to).forEach((box) => { box.checked = target.checked; });
    last = target;
  });
  document.addEventListener("change", ({ target }) => {
    if (!(target instanceof HTMLInputElement) || !target.matches("[data-all], input[form=several]")) return;
    if (target.matches("[data-all]")) boxes().forEach((box) => { box.checked = target.checked; });
    const ticked = boxes().filter((box) => box.checked).length;
    document.querySelectorAll("[data-all]").forEach((all) => { // of the header, and on a phone of the bar
      all.checked = ticked === boxes().length;
      all.indeterminate = ticked > 0 && !all.checked;
    });
    document.querySelector("#several b").textContent = ticked ? `${ticked} ticked:` : "Those who are ticked:";
  });
  // Another page or order brings other rows, and what was ticked is gone: it is said after what has come.
  let lost = false;
  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    lost = detail.shouldSwap && detail.target.id === "table" && boxes().some((box) => box.checked);
  });
  document.addEventListener("htmx:afterSettle", () => {
    if (lost) document.querySelector("#live").append(". Nobody is ticked any more");
    lost = false;
  });
})();
