/* The forms of a user: display and user name follow the names until edited by hand; same rules as users/names.py. */
(() => {
  "use strict";
  const on = (name, act) => document.addEventListener(name, act);

  const plain = { ß: "ss", ø: "o", đ: "d", ð: "d", þ: "th", æ: "ae", œ: "oe", ł: "l", ı: "i", ħ: "h", ŋ: "n",
    ŧ: "t", ə: "e", ĸ: "k" };
  const latin = (name) => { // "" where a letter cannot be written
    const text = name.toLowerCase().replace(/[ßøđðþæœłıħŋŧəĸ]/g, (sign) => plain[sign])
      .normalize("NFKD").toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");
    return /[^a-z0-9]/.test(text) ? "" : text;
  };
  const particle = /^(aan|af|al|ap|av|bin|bint|da|dal|das|de|del|della|den|der|des|di|do|dos|du|e|el|het|ibn|in|la|las|le|les|lo|los|op|t|te|ten|ter|van|vom|von|y|zu|zum|zur)$/;
  const main = (family) => {
    const words = family.trim().split(/\s+/);
    while (words.length > 1 && particle.test(latin(words[0]))) words.shift();
    return latin(words.join(" "));
  };
  const made = {
    display_name: (first, family, pattern = "first last") => {
      const [given, last] = [first, family].map((name) => name.trim());
      return given && last ? pattern.replace(/first|last/g, (token) => token === "first" ? given : last) : given || last;
    },
    user_name: (first, family, pattern = "first.last") => {
      const [given, last] = [first, family].map(latin);
      if (!given || !last) return (given || last).slice(0, 64);
      const parts = { first: given, last, main: main(family) || last, f: given[0] };
      parts.l = parts.main[0];
      return pattern.replace(/first|last|main|f|l/g, (token) => parts[token]).slice(0, 64).replace(/\.$/, "");
    },
  };
  const follows = new WeakMap(); // form -> which of the two still follow
  const said = (form, name) => form.elements[name]?.value ?? ""; // a template may have hidden it
  const derive = (form, name) =>
    made[name](said(form, "first_name"), said(form, "last_name"), form.elements[name]?.dataset.pattern);
  const watch = (form) => {
    if (!follows.has(form)) {
      follows.set(form, Object.fromEntries(Object.keys(made).map((name) => {
        const input = form.elements[name];
        return [name, input && (!input.value || input.value === derive(form, name))];
      })));
    }
    return follows.get(form);
  };
  const names = ["first_name", "last_name"];
  const follow = (form) => {
    const state = watch(form);
    Object.keys(made).forEach((key) => { if (state[key]) form.elements[key].value = derive(form, key); });
  };
  const split = (input) => { // a pasted name@domain goes into both
    const { domain, other_domain: other } = input.form.elements;
    const [local, host] = input.value.trim().split("@");
    if (!host || !domain) return;
    if (!domain.options) { // the only one, as text: the server splits any other
      if (host.toLowerCase() === domain.value.toLowerCase()) input.value = local;
      return;
    }
    const option = (value) => [...domain.options].find((one) => one.value.toLowerCase() === value && !one.disabled);
    const known = option(host.toLowerCase());
    if (!known && !(other && option("other"))) return;
    input.value = local;
    domain.value = known ? known.value : "other";
    if (!known) other.value = host.toLowerCase();
  };
  const fill = (input, value) => {
    input.value = value;
    input.dispatchEvent(new Event("input", { bubbles: true }));
    input.focus();
  };
  const begins = ({ target: { form } }) => { if (form?.matches("[data-user-form]")) watch(form); };
  on("focusin", begins);
  on("beforeinput", begins);
  on("click", ({ target }) => {
    const button = target.closest("[data-fill]");
    if (button) fill(document.querySelector(button.dataset.fill), button.dataset.value || button.textContent.trim());
  });
  on("input", (event) => {
    const { target } = event;
    const { form, name } = target;
    if (!form?.matches("[data-user-form]")) return;
    const state = watch(form);
    if (name in made) state[name] = false;
    if (name === "user_name" && event.inputType === "insertFromPaste") split(target);
    if (names.includes(name)) follow(form);
  });
  on("change", ({ target }) => {
    if (target.name === "user_name" && target.form?.matches("[data-user-form]")) split(target);
  });

  // Somebody may have typed before this file was there.
  document.querySelectorAll("form[data-user-form]").forEach((form) => {
    if (names.some((name) => said(form, name) !== (form.elements[name]?.defaultValue ?? ""))) follow(form);
  });
})();
