// The page: signing in, and which part of it is shown.

import { token, whenUnknown } from "./api.js";
import { close } from "./dialogs.js";
import { h, put } from "./dom.js";
import { drains, happenings, mesh, summary, troubles } from "./fleet.js";
import { audit, orders, reports, rollings, schedules } from "./lists.js";
import { begin, end, now, store, whenChanged } from "./store.js";
import { clock } from "./words.js";

const VIEWS = {
  fleet: ["Fleet", () => [summary(), troubles(), drains(), rollings(true), mesh(), happenings()]],
  rolling: ["Rolling", () => [rollings()]],
  orders: ["Orders", () => [orders()]],
  schedules: ["Schedules", () => [schedules()]],
  drains: ["Reports", () => [reports()]],
  audit: ["Audit", () => [audit()]],
};
const THEMES = ["auto", "dark", "light"];
const CONNECTION = { live: ["● live", "good"], connecting: ["◌ connecting", "warn"], lost: ["✕ no link to the controller", "bad"] };

const app = document.getElementById("app");
let pressed = false, missed = false;
let frame = null, main = null, bar = null, nav = null;

const view = () => (location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "fleet");

function theme(next) {
  const known = localStorage.getItem("sipgrace.theme") ?? "auto";
  const chosen = next ? THEMES[(THEMES.indexOf(known) + 1) % THEMES.length] : known;
  localStorage.setItem("sipgrace.theme", chosen);
  if (chosen === "auto") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.setAttribute("data-theme", chosen);
  return chosen;
}

function draw() {
  frame = null;
  if (!main) return;
  // What is being pressed is not replaced under the finger.
  if (pressed) { missed = true; return; }
  const current = view(), [word, kind] = CONNECTION[store.connection];
  document.title = `${VIEWS[current][0]} · ${store.controller || "sipgrace"}`;
  put(bar,
    h("span", { class: "brand" }, "sipgrace"), h("span", { class: "dim" }, store.controller),
    h("span", { class: `pill ${kind}`, id: "connection" }, word), h("span", { class: "space" }),
    h("span", { class: "dim" }, `${store.me.name}, ${store.me.role}`),
    h("button", { type: "button", class: "small", onclick: () => { theme(true); draw(); }, "data-key": "theme" }, `Theme: ${theme()}`),
    h("button", { type: "button", class: "small", onclick: leave, "data-key": "leave" }, "Sign out"));
  put(nav, Object.entries(VIEWS).map(([name, [title]]) =>
    h("a", { href: `#${name}`, "aria-current": name === current ? "page" : null, "data-key": `nav:${name}` }, title)));
  put(main, VIEWS[current][1]());
}

// However much happens, nobody reads faster than this.
let last = 0;
function soon() {
  if (frame !== null) return;
  frame = setTimeout(() => requestAnimationFrame(() => { last = performance.now(); draw(); }), Math.max(0, 200 - (performance.now() - last)));
}

setInterval(() => {
  for (const one of document.querySelectorAll("[data-until]")) {
    const time = Number(one.dataset.until) - now();
    one.textContent = time > 0 ? clock(time) : one.dataset.done;
    one.classList.toggle("near", time > 0 && time < 10);
  }
}, 250);

function released() {
  setTimeout(() => { pressed = false; if (missed) { missed = false; draw(); } }, 50);
}
addEventListener("pointerdown", () => { pressed = true; });
for (const kind of ["pointerup", "pointercancel", "blur"]) addEventListener(kind, released);

function leave() {
  token.forget();
  end();
  signIn("");
}

function signIn(trouble) {
  main = null;
  close();
  const input = h("input", { type: "password", name: "token", autocomplete: "current-password", required: true, autofocus: true, spellcheck: "false" });
  app.replaceChildren(h("main", { id: "main", class: "center" }, h("form", {
    class: "card signin",
    onsubmit: async (event) => { event.preventDefault(); token.set(input.value.trim()); await enter(); },
  }, h("h1", {}, "sipgrace"), h("p", { class: "dim" }, "Operation controller"),
    h("label", { class: "field" }, h("span", {}, "Token"), input, h("small", {}, "It is kept until this tab is closed.")),
    h("p", { class: "trouble", role: "alert" }, trouble), h("button", { type: "submit", class: "primary" }, "Sign in"))));
  input.focus();
}

async function enter() {
  try {
    await begin();
  } catch (error) {
    end();
    signIn(error.message);
    return;
  }
  bar = h("header", { class: "bar" });
  nav = h("nav", { "aria-label": "Views" });
  main = h("main", { id: "main", tabindex: -1 });
  app.replaceChildren(bar, nav, main);
  draw();
}

whenChanged(() => { if (main) soon(); });
whenUnknown((trouble) => { token.forget(); end(); signIn(trouble); });
addEventListener("hashchange", () => { if (main) { draw(); scrollTo(0, 0); } });
theme(false);
if (token.get()) enter(); else signIn("");
