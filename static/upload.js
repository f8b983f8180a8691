/* A form that takes a file: dropped on it or chosen. One too large, or more than one, is told before it is sent. */
(() => {
  "use strict";
  const zone = (event) => event.target instanceof Element && event.target.closest("[data-drop]");
  const files = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
  const fits = (form) => {
    const input = form.querySelector("[type=file]");
    const file = input.files[0];
    input.setCustomValidity(file && file.size > Number(form.dataset.most) ? form.dataset.tooLarge : "");
    return !file || input.reportValidity(); // without one the answer says what to do
  };
  document.addEventListener("dragover", (event) => {
    if (!files(event)) return;
    event.preventDefault(); // else the browser opens a file that misses the form, and the page is gone
    const form = zone(event);
    event.dataTransfer.dropEffect = form ? "copy" : "none";
    document.querySelectorAll("[data-drop]").forEach((each) => each.classList.toggle("changed", each === form));
  });
  document.addEventListener("drop", (event) => {
    if (!files(event)) return;
    event.preventDefault();
    const form = zone(event);
    document.querySelectorAll("[data-drop]").forEach((each) => each.classList.remove("changed"));
    const { files: dropped } = event.dataTransfer;
    if (!form || !dropped.length) return;
    const input = form.querySelector("[type=file]");
    if (dropped.length > 1) {
      input.setCustomValidity(form.dataset.tooMany);
      input.reportValidity();
      return;
    }
    input.files = dropped;
    if (fits(form)) form.requestSubmit();
  });
  document.addEventListener("change", (event) => { if (zone(event) && event.target.type === "file") fits(zone(event)); });
  // On the window, so before portal.js, which takes a form that it sees for one that is sent.
  addEventListener("submit", (event) => {
    if (!event.target.matches("[data-drop]") || fits(event.target)) return;
    event.preventDefault();
    event.stopPropagation();
  }, true);
})();
