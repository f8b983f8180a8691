/* The users table: one tick for the whole page, how many are ticked, and all of them sent as one field, for a form
   may have 200. Without it each is ticked by itself. */
(() => {
  "use strict";
  const boxes = () => [...document.querySelectorAll("input[form=several]")];
  document.addEventListener("formdata", ({ target, formData }) => {
    if (target.id !== "several") return;
    formData.set("users", formData.getAll("user").join(","));
    formData.delete("user");
  });
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
