// What is known, kept up to date by the events.

import { ask, Events } from "./api.js";

export const store = {
  me: null, controller: "", connection: "connecting", offset: 0,
  nodes: new Map(), mesh: [], conflicts: [], orders: new Map(), rollings: new Map(), schedules: [],
  reports: [], events: [], courses: new Map(),
};

const MOST = 200;
let changed = () => {};
export const whenChanged = (callback) => { changed = callback; };
export const touch = () => changed();

// The controller's time, in seconds since the epoch: this machine's clock may be another.
export const now = () => Date.now() / 1000 + store.offset;

export const shown = (node) => (node.linked ? node.state : "lost");
export const nodesOf = (role) => [...store.nodes.values()].filter((one) => one.role === role)
  .sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
export const may = (kind) => store.me?.may.includes(kind) ?? false;
export const operates = () => may("drain");

// When something that was so many seconds away comes to pass.
export function until(node, left) {
  return left === null || left === undefined ? null : node.lastSeen + left;
}

async function load() {
  const [fleet, orders, rollings, schedules, reports] = await Promise.all([
    ask("GET", "fleet"), ask("GET", "orders?limit=100"), ask("GET", "rollings?limit=50"),
    ask("GET", "schedules"), ask("GET", "reports?limit=20"),
  ]);
  store.offset = fleet.now - Date.now() / 1000;
  store.controller = fleet.controller;
  store.nodes = new Map(fleet.nodes.map((one) => [one.name, one]));
  store.mesh = fleet.mesh;
  store.conflicts = fleet.conflicts;
  store.orders = new Map(orders.orders.reverse().map((one) => [one.id, one]));
  store.rollings = new Map(rollings.rollings.reverse().map((one) => [one.id, one]));
  store.schedules = schedules.schedules;
  store.reports = reports.reports;
  for (const node of store.nodes.values()) sample(node);
  changed();
}

// The mesh is drawn up by the controller; it is asked for as often as it takes no time worth mentioning.
let meshing = false, again = false, pace = 150, noticed = 0;
async function remesh() {
  if (meshing) { again = true; return; }
  meshing = true;
  again = false;
  await new Promise((resolve) => setTimeout(resolve, pace));
  const began = performance.now();
  try {
    const { mesh, conflicts, number } = await ask("GET", "mesh");
    store.mesh = mesh;
    store.conflicts = conflicts;
    // Of a large fleet it is drawn up now and then, and may be older than what was told since.
    if (number < noticed) again = true;
    changed();
  } catch { /* the next event asks again */ }
  pace = Math.max(150, (performance.now() - began) * 5);
  meshing = false;
  if (again) remesh();
}

const AWAY = ["slowing", "draining", "drained"];

// The course of a drain that is under way, as far as it was seen here.
function sample(node) {
  const known = store.courses.get(node.name);
  if (!AWAY.includes(node.state)) {
    if (known && !known.ended) known.ended = now();
    if (node.state === "serving") store.courses.delete(node.name);
    return;
  }
  const facts = node.standing;
  const course = known && !known.ended ? known : { began: facts.order?.when ?? node.lastSeen, most: 0, rows: [], ended: 0 };
  course.rows.push([node.lastSeen - course.began, facts.waiting ?? 0, facts.refused ?? 0]);
  course.most = Math.max(course.most, facts.waiting ?? 0);
  if (course.rows.length > 600) course.rows = course.rows.filter((_, at) => at % 2 === 0);
  store.courses.set(node.name, course);
}

function happened(kind, { number, node, facts, controller, resumed }) {
  if (kind === "node") noticed = number;
  if (kind === "hello") {
    store.controller = controller;
    // Another run of the controller counts from one.
    if (!resumed) noticed = 0;
    if (!resumed || !store.nodes.size) load().catch(() => {});
  } else if (kind === "node") {
    if (!facts.role) { store.nodes.delete(node); remesh(); return changed(); }
    store.nodes.set(facts.name, facts);
    sample(facts);
    remesh();
  } else if (kind === "event") {
    store.events.unshift({ node, ...facts });
    store.events.length = Math.min(store.events.length, MOST);
  } else if (kind === "order") {
    store.orders.set(facts.id, facts);
  } else if (kind === "rolling") {
    store.rollings.set(facts.id, facts);
  } else if (kind === "schedule") {
    ask("GET", "schedules").then((found) => { store.schedules = found.schedules; changed(); }, () => {});
  } else if (kind === "report") {
    // The same drain is reported again when its server is back.
    store.reports = [facts, ...store.reports.filter((one) => one.node !== facts.node || one.at !== facts.at)].slice(0, 50);
  }
  changed();
}

let events = null;
export async function begin() {
  store.me = await ask("GET", "me");
  events = new Events(happened, (state) => { store.connection = state; changed(); });
  events.run();
}

export function end() {
  events?.stop();
  events = null;
  Object.assign(store, {
    me: null, connection: "connecting", nodes: new Map(), mesh: [], conflicts: [], orders: new Map(),
    rollings: new Map(), schedules: [], reports: [], events: [], courses: new Map(),
  });
}
