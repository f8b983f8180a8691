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

  // --- Not while what somebody asked for is under way, and not again at once where the answer was no ---
  const reads = new Map(); // request -> where its answer goes
  const stopped = new WeakSet();
  on("htmx:beforeRequest", (event) => {
    const { elt, target, xhr } = event.detail;
    if (polls(elt) && (stopped.has(elt) || [...reads.values()].some((other) => other.contains(target)))) {
      event.preventDefault();
      event.stopImmediatePropagation(); // portal.js takes a request that it sees for one that is sent
    } else reads.set(xhr, target);
  }, true);
  on("htmx:afterRequest", ({ detail: { xhr, requestConfig: { elt } } }) => {
    reads.delete(xhr);
    if (!polls(elt) || xhr.status < 400) return;
    stopped.add(elt);
    const pause = xhr.status === 429 ? 60000 : 15000; // a fault of ours is told once in a while, not with every tick
    if (xhr.status === 429 || xhr.status > 499) setTimeout(() => stopped.delete(elt), pause);
  });

  // --- What somebody types stays: the server is told, and answers with what replaces none of it ---
  const inputs = (from) => [...from.querySelectorAll("form[data-guard] input")];
  const typing = (from) => inputs(from).some((one) => one === document.activeElement || one.value !== one.defaultValue);
  on("htmx:configRequest", ({ detail: { elt, headers } }) => {
    if (polls(elt) && typing(document)) headers["X-Typing"] = "1";
  });
  on("htmx:beforeSwap", ({ detail }) => { // begun after that, or on another page of the rows by now
    const { elt } = detail.requestConfig;
    if (polls(elt) && (!elt.isConnected || typing(detail.target))) detail.shouldSwap = false;
  });
})();
