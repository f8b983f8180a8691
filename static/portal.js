/* What HTML and htmx leave to us. All listens on the document, so a swap needs no set-up; each page works without. */
(() => {
  "use strict";
  const root = document.documentElement;
  const $ = (selector, from = document) => from.querySelector(selector);
  const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];
  const on = (names, act, capture) => names.split(" ").forEach((name) => document.addEventListener(name, act, capture));
  const near = (event, selector) => event.target instanceof Element && event.target.closest(selector);
  const submits = "[type=submit], button:not([type])";
  const safe = (verb) => /^get$/i.test(verb || "get");

  // --- Saying something: emptied first, so that the same is read out twice ---
  const say = (text, where = "#live") => {
    const region = $(where);
    region.textContent = "";
    setTimeout(() => { region.textContent = text; }, 60);
  };

  // --- CSRF: the cookie as it is when sending; signing in in another tab changes it ---
  const csrf = () => {
    const name = root.dataset.csrfCookie + "=";
    return document.cookie.split("; ").find((part) => part.startsWith(name))?.slice(name.length);
  };
  on("htmx:configRequest", ({ detail }) => {
    const { formData } = detail;
    if (safe(detail.verb)) [...formData].forEach(([name, value]) => value || formData.delete(name)); // short URLs
    if (safe(detail.verb) || !csrf()) return;
    detail.headers["X-CSRFToken"] = csrf();
    delete detail.parameters.csrfmiddlewaretoken; // Django would believe this older one first
  });

  // --- Sending: busy, once, and what to repeat afterwards ---
  const latest = new Map(); // id of a target -> its last read: of two links pressed in a row only that one counts
  const lastOnly = ({ detail, target: { id } }) => {
    if (safe(detail.requestConfig.verb) && latest.get(id) !== detail.xhr) detail.shouldSwap = false;
  };
  const sent = new WeakMap(); // request -> {elt, form, submitter, unsafe, done}
  let failed = null; // what "Try again" and "Send again" repeat
  const repeat = () => {
    const { elt, form, submitter } = failed || {};
    const from = [submitter, elt, form && $(submits, form)].find((one) => one?.isConnected && one.matches("a, button, input, select"));
    from?.focus();
    if (form?.isConnected) form.requestSubmit(from?.type === "submit" ? from : undefined);
    else if (from) from.click();
    else location.reload();
  };
  const pressed = new WeakMap(); // form -> the button that sent it
  const sentAt = new WeakMap();
  const busyText = (form, button) => { // <form data-busy-words="Creating…">
    if (!form || !form.dataset.busyWords || !button) return;
    const words = [...button.childNodes];
    const timer = setTimeout(() => button.replaceChildren(form.dataset.busyWords), 300);
    return () => { clearTimeout(timer); if (button.isConnected) button.replaceChildren(...words); };
  };
  on("submit", (event) => {
    const form = event.target;
    pressed.set(form, event.submitter);
    typed.delete(form);
    if (form.matches("[data-choice]") && event.submitter) choose(event.submitter);
    const token = form.elements.csrfmiddlewaretoken;
    if (token && csrf()) token.value = csrf();
    // A second press of a plain form within 3 s is the same; htmx has hx-sync.
    if (!form.matches("[hx-post], [hx-get]") && form.method === "post") {
      if (Date.now() - (sentAt.get(form) || 0) < 3000) return event.preventDefault();
      sentAt.set(form, Date.now());
      form.setAttribute("aria-busy", "true");
      setTimeout(() => form.removeAttribute("aria-busy"), 3000); // a file may be the answer, and the page stays
      busyText(form, event.submitter || $(submits, form));
    }
  }, true);
  on("htmx:beforeRequest", ({ detail }) => {
    const { elt, target, xhr, requestConfig } = detail;
    const form = elt.closest("form");
    const unsafe = !safe(requestConfig.verb);
    const sender = form && (elt === form || elt.form === form) ? form : null;
    const submitter = sender && pressed.get(sender);
    const busy = sender && unsafe ? sender : target;
    if (!polls(elt)) busy.setAttribute("aria-busy", "true");
    if (!unsafe) latest.set(target.id, xhr);
    target.addEventListener("htmx:beforeSwap", lastOnly); // it may be gone by then
    const restore = unsafe && busyText(sender, submitter || (sender && $(submits, sender)));
    sent.set(xhr, { elt, form: sender, submitter, unsafe, done: () => { busy.removeAttribute("aria-busy"); if (restore) restore(); } });
  });
  on("htmx:afterRequest", ({ detail }) => {
    const { xhr, successful, target, elt } = detail;
    const what = sent.get(xhr);
    what?.done();
    if (xhr.status === 204) say("Saved");
    const notice = $("#notice");
    if (successful && notice.dataset.swapped && target !== notice && !polls(elt)) {
      notice.replaceChildren();
      delete notice.dataset.swapped;
    }
    if (!successful && what) {
      failed = what;
      if (what.form && what.unsafe) typed.add(what.form);
    }
  });

  // --- What asks by itself is not what somebody asked: see polls.js ---
  const polls = (elt) => elt.matches('[hx-trigger^="tick"]');

  // --- Nothing came back: never a silent dead control ---
  const broken = ({ detail }) => {
    if (polls(detail.requestConfig.elt)) return;
    const unsafe = failed?.unsafe;
    const words = (navigator.onLine ? "The connection broke." : "You are offline.") + (unsafe ? " We do not know if it was saved." : "");
    const copy = $("#broken").content.cloneNode(true);
    const body = $("p + p", copy);
    $(".title", copy).textContent = words;
    if (unsafe) body.textContent = "What you typed is still here. Checking again sends it with the same number, so nothing is done twice.";
    else body.remove();
    if (unsafe) $("[data-retry]", copy).textContent = "Check again";
    const notice = $("#notice");
    notice.replaceChildren(copy);
    tell(notice, words);
  };
  on("htmx:sendError htmx:timeout", broken); // htmx:afterRequest came before
  const tell = (notice, words) => {
    notice.dataset.swapped = "yes";
    notice.scrollIntoView({ block: "nearest" });
    say(words, "#alert");
  };

  // --- After a swap: what came works at once, focus is never lost ---
  htmx.config.defaultSettleDelay = 0;
  let held = false;
  on("htmx:beforeSwap", ({ detail }) => {
    held = document.activeElement !== document.body;
    failed = detail.xhr.status < 400 ? failed : sent.get(detail.xhr);
    if (detail.xhr.status > 499 && !detail.serverResponse.includes('"title"')) { // a proxy's
      detail.shouldSwap = false;
      broken({ detail });
    }
    const { here } = $("#table")?.dataset || {}; // for Back
    if (here && detail.shouldSwap && detail.xhr.status < 400 && detail.requestConfig.elt.matches("[data-pages] a")) history.replaceState(history.state, "", here);
  });
  const focus = (element, options) => {
    if (!element.matches("a[href], button, input, select, textarea, [tabindex]")) element.tabIndex = -1;
    element.focus(options);
  };
  on("htmx:afterSettle", ({ detail }) => {
    const { target, xhr, elt, requestConfig } = detail;
    if (target.id === "table") lookAhead();
    if (xhr?.status === 422) unsaved(); // the form came back as a new one
    if (target.id === "dialog" || elt.id === "dialog") return open();
    if (target.id === "notice" && xhr?.status >= 400) {
      tell(target, $(".title", target).textContent);
      const box = target.firstElementChild;
      if (box && xhr.status !== 429 && xhr.status < 501 && !polls(requestConfig.elt)) focus(box, { preventScroll: true });
      return;
    }
    const here = $(`[id="${target.id}"]`) || elt;
    const summary = $("[autofocus]", here);
    if (summary) { focus(summary); summary.scrollIntoView({ block: "nearest" }); return; }
    if (held && document.activeElement === document.body) {
      const home = $(here.dataset.focusNext || "_") || $("[data-focus-home]", here) || here.closest("[data-focus-home]") || $("[data-focus-home]") || $("h1");
      if (home) focus(home, { preventScroll: true });
    }
    if (requestConfig?.elt.matches("[data-pages] *") && here.getBoundingClientRect().top < 0) here.scrollIntoView();
  });

  // --- The dialog ---
  const open = () => {
    const dialog = $("#dialog");
    if (dialog.childElementCount && !dialog.open) dialog.showModal();
    $("[autofocus]", dialog)?.focus();
  };
  on("close", ({ target }) => { if (target.id === "dialog") target.replaceChildren(); }, true);

  // --- Clicks ---
  const copied = async (button) => {
    const source = button.dataset.copyFrom && $(button.dataset.copyFrom);
    try {
      await navigator.clipboard.writeText(source ? source.value : button.dataset.copy);
    } catch {
      if (source) source.select();
      return say("The browser did not copy. Select the text and copy it", "#alert");
    }
    button.dataset.copied = "";
    say("Copied");
    setTimeout(() => button.removeAttribute("data-copied"), 2000);
  };
  on("click", (event) => {
    closeMenus(event.target);
    if (near(event, "[data-goto]") && !event.ctrlKey && !event.metaKey) { event.preventDefault(); goTo(); }
    const button = near(event, "button, [aria-disabled=true]");
    if (!button) return;
    const data = button.dataset;
    if (button.ariaDisabled === "true") event.preventDefault();
    else if ("copy" in data || "copyFrom" in data) copied(button);
    else if ("show" in data) {
      const input = $(data.show);
      const visible = input.type === "password";
      input.type = visible ? "text" : "password";
      button.setAttribute("aria-pressed", visible);
    } else if ("close" in data) button.closest("dialog").close();
    else if ("sendAgain" in data) { button.closest("dialog").close(); repeat(); }
    else if ("retry" in data) { $("#notice").replaceChildren(); repeat(); }
  });

  // --- Menus: one open, Esc and leaving close it ---
  const closeMenus = (kept) => $$("details.menu[open]").forEach((menu) => { if (!menu.contains(kept)) menu.open = false; });
  on("toggle", ({ target }) => { if (target.open && target.matches("details.menu")) closeMenus(target); }, true);
  on("focusin", ({ target }) => closeMenus(target));
  on("keydown", (event) => {
    const { key } = event;
    const ctrl = (event.ctrlKey || event.metaKey) && !event.getModifierState("AltGraph");
    if (key === "Escape") {
      const menu = $("details.menu[open]");
      if (menu) { menu.open = false; $("summary", menu).focus(); }
    }
    if (key === "Enter" && ctrl) {
      const form = near(event, "form[data-ctrl-enter]");
      if (form) { event.preventDefault(); form.requestSubmit($(submits, form)); }
    }
    if (!$("#goto")) return;
    if (ctrl && !event.altKey && !event.shiftKey && key.toLowerCase() === "k") { event.preventDefault(); goTo(); }
    more(key.length < 2 && !ctrl && event);
  });

  // --- Ctrl K. Its options, and all other shortcuts, are keys.js: it comes with the first key ---
  const goTo = () => {
    if ($("dialog[open]")) return;
    $("#goto-q").value = "";
    $("#goto").showModal();
  };
  let early; // keys pressed before it was there: pressed anew
  const more = (event) => {
    if (!early) {
      const { keys: src, integrity } = $("#goto").dataset;
      early = [];
      document.head.append(Object.assign(document.createElement("script"), { src, integrity, onload: () => {
        const all = early;
        early = new Set();
        all.forEach((one) => one.target.dispatchEvent(new KeyboardEvent("keydown", one)));
      } }));
    }
    if (event) early.push?.(event);
  };

  // --- The next page of users is asked for while this one is read ---
  let ahead, reading, tired;
  const lookAhead = () => {
    const { ahead: url } = $("#table")?.dataset || {};
    clearTimeout(reading);
    if (url && !tired) reading = setTimeout(() => {
      if (document.hidden) return;
      ahead = fetch(url, { headers: { "X-Poll": "1" }, redirect: "manual" }).then(({ status }) => { tired = status === 202; }, () => {});
      ahead.then(() => { ahead = 0; });
    }, 300);
  };
  on("htmx:confirm", (event) => { // pressed meanwhile
    const { elt, issueRequest } = event.detail;
    if (!elt.matches("[data-pages] a")) return;
    clearTimeout(reading);
    if (ahead) { event.preventDefault(); ahead.then(() => issueRequest(true)); }
  });
  lookAhead();

  // --- Theme, density, shortcuts: at once here, and kept by the server ---
  const choose = ({ name, value }) => {
    root.dataset[name] = value;
    $$(`button[name=${name}]`).forEach((one) => one.setAttribute("aria-pressed", one.value === value));
  };

  // --- Unsaved: asks only if something was typed ---
  const typed = new WeakSet();
  const guarded = () => $$("form[data-guard]");
  const unsaved = () => guarded().forEach((form) => typed.add(form));
  addEventListener("beforeunload", (event) => { if (guarded().some((form) => typed.has(form))) event.preventDefault(); });

  on("input", ({ target: { form } }) => { if (form) typed.add(form); });
  on("change", ({ target }) => { if (target.matches("[data-auto-submit]")) target.form.requestSubmit(); });

  // --- The end of the sign-in, two minutes before it (WCAG 2.2.1) ---
  const ending = $("#ending");
  if (ending) setTimeout(() => {
    $("#notice").append(ending.content.cloneNode(true));
    say($(".title", ending.content).textContent, "#alert");
  }, Math.max(0, ending.dataset.left - 120) * 1000);

  // --- Back shows nothing old; it is a visit, not a reload ---
  const again = () => location.replace(location.href);
  addEventListener("pageshow", (event) => { if (event.persisted) again(); });

  // A whole page with errors: what stands in its form is not saved.
  if ($(".errsum")) unsaved();

  // --- History is the browser's own; what htmx notes of it (addresses, with searches) does not stay ---
  const forget = () => sessionStorage.clear();
  on("htmx:pushedIntoHistory htmx:replacedInHistory", forget);
  on("htmx:historyCacheMiss", (event) => { event.preventDefault(); again(); });
  forget();
})();
