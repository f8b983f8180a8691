/* The keyboard, for those who use it: the options of "Go to customer", and shortcuts. portal.js fetches this with the first key. */
(() => {
  "use strict";
  const $ = (selector) => document.querySelector(selector);
  const $$ = (selector) => [...document.querySelectorAll(selector)];
  const fields = "input, select, textarea, dialog, [contenteditable]";

  // --- "Go to customer" is a combobox whose first option is the one that Enter opens. Before somebody moves, Enter sends
  // the form all the same: what stands there may be of fewer letters, and the server knows the first before it has come ---
  let moved = false;
  const activate = (option) => {
    $$("#goto-options [role=option]").forEach((one) => one.setAttribute("aria-selected", one === option));
    $("#goto-q").setAttribute("aria-activedescendant", option?.id || "");
    option?.scrollIntoView({ block: "nearest" });
  };
  const choosing = (event) => {
    const { key, target } = event;
    if (event.isComposing) return;
    const options = $$("#goto-options [role=option]");
    const at = options.findIndex((one) => one.ariaSelected === "true");
    const to = { ArrowDown: at + 1, ArrowUp: at < 0 ? -1 : at - 1, Home: 0, End: -1 }[key];
    if (to !== undefined && options.length) {
      moved = true;
      activate(options.at(to % options.length));
    } else if (key === "Enter") {
      const way = moved && options[at] || target.form;
      way.target = event.ctrlKey || event.metaKey ? "_blank" : "";
      if (way === options[at]) way.click();
      else way.requestSubmit();
    } else return;
    event.preventDefault();
  };
  document.addEventListener("htmx:afterSettle", ({ target, detail }) => {
    if (target.id !== "goto-options") return;
    const asked = new URL(detail.xhr.responseURL).searchParams.get("q") || "";
    moved = false;
    activate(asked === $("#goto-q").value ? $("#goto-options [role=option]") : undefined);
  });
  document.addEventListener("input", ({ target }) => {
    if (target.id !== "goto-q") return;
    moved = false;
    activate(); // it is of what was typed before
  });
  activate($("#goto-options [aria-selected=true]"));

  // --- Single keys: what they press says so in its data-key; "gc" is one after the other ---
  const everywhere = { "/": "main input[type=search]", "[": "#page-previous", "]": "#page-next" };
  let before = "";
  const single = (event) => {
    const { key, target } = event;
    const links = $$("#table tbody th a");
    const at = links.findIndex((one) => one.closest("tr").contains(document.activeElement));
    const to = { j: links[at + 1], k: links[at < 0 ? 0 : at - 1] }[key];
    const box = key === "x" && target.closest("#table tr")?.querySelector(".tick input");
    const found = to || box || (key in everywhere ? $(everywhere[key]) : null) || $$("[data-key]").find((one) => [before + key, key].includes(one.dataset.key));
    before = key === "g" && !before ? key : "";
    if (!found) return;
    event.preventDefault();
    if (to || (found !== box && found.matches("input"))) found.focus();
    else if (found.ariaDisabled !== "true") found.click();
  };

  document.addEventListener("keydown", (event) => {
    const { target } = event;
    if (target.id === "goto-q") choosing(event);
    else if ((event.ctrlKey || event.metaKey || event.altKey) && !event.getModifierState("AltGraph") || document.documentElement.dataset.shortcuts !== "on") return;
    else if (!(target instanceof Element && target.closest(fields)) && !$("dialog[open]")) single(event);
  });
})();
