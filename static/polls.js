/* Pages that ask every two seconds how far something is: hx-trigger="tick from:body". No poll takes anything away. */
(() => {
  "use strict";
  const polls = (elt) => elt.matches('[hx-trigger^="tick"]');
  const on = (name, act, capture) => document.addEventListener(name, act, capture);

  // --- A tick while somebody looks, less often after a minute ---
  let ticks = 0;
  setInterval(() => {
    if (!document.hidden && (ticks < 30 || ticks % 3 === 0)) document.body.dispatchEvent(new Event("tick"));
    ticks += 1;
  }, 2000);

  // --- Not while what somebody asked for is under way ---
  const reads = new Map(); // request -> where its answer goes
  on("htmx:beforeRequest", (event) => {
    const { elt, target, xhr } = event.detail;
    if (polls(elt) && [...reads.values()].some((other) => other.contains(target))) {
      event.preventDefault();
      event.stopImmediatePropagation(); // portal.js takes a request that it sees for one that is sent
    } else reads.set(xhr, target);
  }, true);
  on("htmx:afterRequest", ({ detail: { xhr } }) => reads.delete(xhr));
})();
