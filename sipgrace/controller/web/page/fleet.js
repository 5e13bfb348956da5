// The fleet at a glance: trouble, drains under way, the mesh.

import { buttons, details, pair, announce } from "./dialogs.js";
import { h } from "./dom.js";
import { plot } from "./plot.js";
import { nodesOf, now, operates, shown, store, touch, until } from "./store.js";
import { STATES, clock, count, moment } from "./words.js";

export const pill = (state) => h("span", { class: `pill ${STATES[state]?.[1] ?? "off"}` },
  h("span", { class: "shape", "aria-hidden": "true" }, STATES[state]?.[0] ?? "?"), ` ${state}`);

const left = (at, done = "0:00") => h("span", { class: "count", "data-until": at, "data-done": done }, clock(at - now()));

export function summary() {
  const servers = nodesOf("server"), clients = nodesOf("client");
  const serving = servers.filter((one) => shown(one) === "serving").length;
  const waiting = servers.reduce((sum, one) => sum + (one.linked ? one.standing.waiting ?? 0 : 0), 0);
  const linked = clients.filter((one) => one.linked).length;
  const figures = [
    [`${serving}/${servers.length}`, "servers serving", serving === servers.length ? "good" : serving ? "warn" : "bad"],
    [`${linked}/${clients.length}`, "clients linked", linked === clients.length ? "good" : "bad"],
    [waiting, waiting === 1 ? "call being set up" : "calls being set up", ""],
    [store.conflicts.length, store.conflicts.length === 1 ? "conflict" : "conflicts", store.conflicts.length ? "bad" : "good"],
  ];
  return h("ul", { class: "figures", "aria-label": "Summary" }, figures.map(([value, name, kind]) =>
    h("li", { class: kind }, h("strong", {}, value), h("span", {}, name))));
}

// Servers that are not back when they said they would be, by those that wait for them.
function overdue() {
  const waiting = new Map();
  for (const one of store.mesh) if (one.overdue && !one.old) waiting.set(one.server, (waiting.get(one.server) ?? 0) + 1);
  return [...waiting].map(([server, many]) => ["bad", `${server} is not back at the time that it announced: ${count(many, "client")} ${many === 1 ? "waits" : "wait"}`]);
}

export function troubles() {
  const lines = [
    ...store.conflicts.map((one) => ["bad", one.text]),
    ...[...store.nodes.values()].filter((one) => !one.linked).map((one) => ["bad", `The link to ${one.name} is lost since ${moment(one.since)}: ${one.lost}`]),
    ...[...store.rollings.values()].filter((one) => one.progress === "trouble").slice(-1).map((one) => ["bad", `Rolling maintenance stopped: ${one.text}`]),
    ...overdue(),
  ];
  if (!lines.length) return null;
  return h("section", { class: "troubles", "aria-label": "Trouble" }, h("h2", {}, "Trouble"),
    h("ul", {}, lines.map(([kind, text]) => h("li", { class: kind }, h("span", { "aria-hidden": "true" }, "▲ "), text))));
}

function underway(node) {
  const facts = node.standing, state = shown(node), order = facts.order;
  const guard = until(node, facts.guardLeft), back = until(node, facts.retryAfter);
  const course = store.courses.get(node.name);
  const most = Math.max(course?.most ?? 0, facts.waiting ?? 0);
  const waiting = facts.waiting ?? 0;
  const side = h("div", { class: "side" },
    h("header", {}, h("h3", {}, h("button", { type: "button", class: "name", onclick: () => details(node), "data-key": `way:${node.name}` }, node.name)), pill(state)),
    h("dl", { class: "big" },
      h("div", {}, h("dt", {}, "calls left"), h("dd", {}, waiting)),
      h("div", {}, h("dt", {}, "associations"), h("dd", {}, facts.associations ?? "–")),
      guard !== null && h("div", {}, h("dt", {}, "until the guard"), h("dd", {}, left(guard))),
      guard === null && back !== null && h("div", {}, h("dt", {}, "clients come back in"), h("dd", {}, left(back, "now")))),
    ["slowing", "draining", "drained"].includes(state) && h("progress", { max: Math.max(1, most), value: most - waiting, "aria-label": `${most - waiting} of ${most} calls settled` }),
    order && h("p", { class: "dim" }, `${order.kind} by ${order.who}, ${moment(order.when)}`, order.why && `: ${order.why}`));
  const drawn = course && course.rows.length > 1;
  if (drawn) side.append(h("ul", { class: "key" }, [["waiting", "calls left"], ["refused", "new calls refused"]].map(([kind, word]) => h("li", { class: kind }, h("i", {}), word))));
  side.append(h("p", { class: "buttons left" }, buttons(node, "way:", true)));
  const card = h("article", { class: `card split ${STATES[state]?.[1] ?? ""}`, "aria-label": `${node.name}: ${state}` }, side);
  if (drawn)
    card.append(plot(["refused"], course.rows.map((row) => [row[0], row[1], row[2] - course.rows[0][2]]), [], {
      label: `${node.name}: calls left, and refused since, over time`, end: course.ended ? 0 : now() - course.began, H: 170,
    }));
  return card;
}

export function drains() {
  const away = [...nodesOf("server"), ...nodesOf("client")].filter((one) => !["serving", "unknown"].includes(one.state));
  return h("section", { "aria-label": "Under way" }, h("h2", {}, "Under way"),
    away.length ? h("div", { class: "cards" }, away.map(underway)) : h("p", { class: "dim" }, "Nothing: all nodes serve."));
}

// Counts down from when the client said so.
function ticking(entry) {
  const client = store.nodes.get(entry.client);
  return client?.linked ? left(until(client, entry.countdown), "soon") : clock(entry.countdown);
}

function cell(entry, conflicts) {
  if (!entry) return h("td", { class: "none" }, h("span", { class: "hidden" }, "not known"));
  let kind, shape, word;
  if (entry.skipped) [kind, shape, word] = ["off", "⊘", "skipped"];
  else if (entry.active) [kind, shape, word] = ["good", "●", entry.latency === null ? "up" : `${(entry.latency * 1000).toFixed(1)} ms`];
  else if (entry.overdue) [kind, shape, word] = ["bad", "!", "overdue"];
  else if (entry.countdown) [kind, shape, word] = ["warn", "◷", clock(entry.countdown)];
  else if (entry.associated) [kind, shape, word] = ["warn", "◌", "testing"];
  else if (entry.state === "unknown") [kind, shape, word] = ["off", "?", "unknown"];
  else [kind, shape, word] = ["bad", "✕", "down"];
  const conflict = conflicts.some((one) => one.server === entry.server && one.not.includes(entry.client))
    || (entry.serverSays !== null && entry.serverSays !== entry.associated && !entry.old);
  const title = `${entry.client} to ${entry.server}: ${entry.active ? "up" : word}${entry.old ? ", as last known" : ""}${conflict ? ", in conflict" : ""}`;
  return h("td", { class: `${kind} ${entry.old ? "old" : ""} ${conflict ? "conflict" : ""}` },
    h("button", { type: "button", class: "cell", title, "aria-label": title, onclick: () => pair(entry), "data-key": `cell:${entry.server}:${entry.client}` },
      h("span", { class: "shape", "aria-hidden": "true" }, shape), h("span", { class: "word", "aria-hidden": "true" }, shape === "◷" ? ticking(entry) : word)));
}

// More than this nobody reads, and no browser draws several times a second.
const ROWS = 60, COLUMNS = 24;
let wanted = "";

const matches = (name, node) => !wanted || wanted.toLowerCase().split(/\s+/).every((word) =>
  [name, node?.group ?? "", node ? shown(node) : "", ...Object.entries(node?.labels ?? {}).map(([key, value]) => `${key}=${value}`)]
    .some((one) => one.toLowerCase().includes(word)));

// How much a node wants to be looked at: what is wrong or under way comes first where not all fit.
const urgency = (node, troubled) => (troubled ? 2 : 0) + (node && (!node.linked || node.state !== "serving") ? 1 : 0);
const worst = (list, most, urgencyOf) => (list.length <= most ? list
  : [...list].sort((a, b) => urgencyOf(b) - urgencyOf(a)).slice(0, most));

function reached(entries) {
  const said = entries.filter((one) => !one.old), active = said.filter((one) => one.active).length;
  const kind = !said.length ? "off" : active === said.length ? "good" : active ? "warn" : "bad";
  return h("td", { class: kind }, h("span", { class: "cell sum" }, `${active} of ${said.length}`));
}

export function mesh() {
  const servers = new Map(nodesOf("server").map((one) => [one.name, one]));
  // Clients may have servers that have no link to this controller.
  for (const one of store.mesh) if (!servers.has(one.server)) servers.set(one.server, null);
  const known = new Map(), byServer = new Map(), byClient = new Map();
  for (const one of store.mesh) {
    known.set(`${one.server} ${one.client}`, one);
    for (const [map, name] of [[byServer, one.server], [byClient, one.client]]) {
      if (!map.has(name)) map.set(name, []);
      map.get(name).push(one);
    }
  }
  const clients = nodesOf("client");
  const conflicts = new Set(store.conflicts.map((one) => one.server));
  const away = (entries) => (entries ?? []).some((one) => !one.active && !one.old);
  // A name that is looked for may be that of either side.
  const rows = [...servers].filter(([name, node]) => matches(name, node));
  const columns = clients.filter((one) => matches(one.name, one));
  const row0 = rows.length ? rows : [...servers], column0 = columns.length ? columns : clients;
  const rows1 = worst(row0, ROWS, ([name, node]) => urgency(node, conflicts.has(name)));
  const columns1 = worst(column0, COLUMNS, (one) => urgency(one, away(byClient.get(one.name))));
  const few = column0.length <= COLUMNS;
  const search = h("input", {
    type: "search", class: "filter", placeholder: "Name, state, label…", "aria-label": "Show nodes with this in their name, state or labels",
    value: wanted, "data-key": "filter", oninput: (event) => { wanted = event.target.value; touch(); },
  });
  const title = h("div", { class: "title" }, h("h2", {}, "Fleet"), h("div", { class: "tools" }, search,
    operates() && h("button", { type: "button", class: "small", onclick: announce, "data-key": "announce" }, "Announce…")));
  if (!servers.size && !clients.length) return h("section", {}, title, h("p", { class: "dim" }, "No node has linked up yet."));
  const head = h("tr", {}, h("th", { scope: "col", class: "corner" }, "server", h("span", { class: "dim" }, " × client")),
    few ? null : h("th", { scope: "col" }, "all"),
    columns1.map((one) => h("th", { scope: "col" }, h("button", { type: "button", class: "name", onclick: () => details(one), "data-key": `client:${one.name}` }, one.name),
      h("div", {}, pill(shown(one))), h("div", { class: "act" }, one.state !== "serving" || !one.linked ? buttons(one, "mesh:") : null))));
  const row = ([name, node]) => h("tr", {},
    h("th", { scope: "row" }, node
      ? [h("div", { class: "row" }, h("button", { type: "button", class: "name", onclick: () => details(node), "data-key": `server:${name}` }, name), pill(shown(node))),
        h("div", { class: "dim" }, `${count(node.standing.waiting ?? 0, "call")}${Object.values(node.labels).map((one) => `, ${one}`).join("")}`),
        h("div", { class: "act" }, buttons(node, "mesh:"))]
      : [h("span", { class: "name" }, name), h("div", { class: "dim" }, "no link to it")]),
    few ? null : reached(byServer.get(name) ?? []),
    columns1.map((client) => cell(known.get(`${name} ${client.name}`), store.conflicts)));
  const hidden = [row0.length > rows1.length && `${rows1.length} of ${row0.length} servers`, !few && `${columns1.length} of ${column0.length} clients`].filter(Boolean);
  return h("section", { "aria-label": "Fleet" }, title,
    hidden.length ? h("p", { class: "dim" }, `Shown are ${hidden.join(" and ")}, those first with which something is amiss.`) : null,
    h("div", { class: "scroll", "data-scroll": "mesh", tabindex: 0, role: "region", "aria-label": "Servers and clients" }, h("table", { class: "mesh" },
      h("thead", {}, head), h("tbody", {}, rows1.map(row)))));
}

export function happenings() {
  if (!store.events.length) return null;
  return h("section", { "aria-label": "What happened" }, h("h2", {}, "What happened"),
    h("ul", { class: "log" }, store.events.slice(0, 12).map((one) => h("li", {},
      h("time", {}, moment(one.at)), h("strong", {}, one.node), ` ${one.change}`,
      one.order && ["draining", "offline", "cancelled", "slowing"].includes(one.change) ? `, ordered by ${one.order.who}${one.order.why ? `: ${one.order.why}` : ""}` : "",
      one.waiting ? `, ${count(one.waiting, "call")} left` : "", one.forced ? `, ${count(one.forced, "call")} ended by force` : "",
      one.text ? `: ${one.text}` : ""))));
}

