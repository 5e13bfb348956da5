// What is asked before anything is ordered: each says what it will do.

import { ask } from "./api.js";
import { h, toast } from "./dom.js";
import { may, nodesOf, now, shown, store } from "./store.js";
import { count, moment, seconds } from "./words.js";

const dialog = () => document.getElementById("dialog");

export function close() { if (dialog().open) dialog().close(); }

// fields: elements with a name; does(values) -> what it will do, as lines; act(values) -> promise of a word on success.
function form({ title, fields = [], does, act, go, danger = false, extra = null }) {
  const box = dialog();
  const effect = h("ul", { class: "effect" });
  const trouble = h("p", { class: "trouble", role: "alert" });
  const submit = h("button", { type: "submit", class: danger ? "danger" : "primary" }, go);
  const body = h("form", { method: "dialog" },
    h("h2", { id: "dialog-title" }, title), fields,
    h("h3", {}, "What this will do"), effect, extra?.place, trouble,
    h("p", { class: "buttons" }, h("button", { type: "button", onclick: close }, "Close"), extra?.button, submit));
  const values = () => Object.fromEntries([...body.elements].filter((one) => one.name).map((one) => [
    one.name, one.type === "checkbox" ? one.checked : one.type === "number" ? (one.value === "" ? null : Number(one.value)) : one.value,
  ]));
  const show = () => {
    const found = does(values());
    effect.replaceChildren(...found.lines.map((line) => h("li", {}, line)));
    submit.disabled = Boolean(found.wrong);
    trouble.textContent = found.wrong ?? "";
  };
  body.addEventListener("input", show);
  body.addEventListener("submit", async (event) => {
    event.preventDefault();
    submit.disabled = true;
    submit.setAttribute("aria-busy", "true");
    try {
      toast(await act(values()));
      close();
    } catch (error) {
      trouble.textContent = error.message;
      submit.disabled = false;
    }
    submit.removeAttribute("aria-busy");
  });
  if (extra) extra.values = values;
  box.replaceChildren(body);
  show();
  if (!box.open) box.showModal();
}

const field = (label, input, hint) => h("label", { class: "field" }, h("span", {}, label), input, hint && h("small", {}, hint));
const number = (name, label, hint, more = {}) =>
  field(label, h("input", { type: "number", name, min: 0, step: "any", inputmode: "decimal", placeholder: "as configured", ...more }), hint);
const text = (name, label, hint, more = {}) => field(label, h("input", { type: "text", name, maxlength: 500, ...more }), hint);
const choice = (name, label, options, value = "") =>
  field(label, h("select", { name }, options.map(([one, said]) => h("option", { value: one, selected: one === value }, said))));

const WHY = () => text("why", "Reason", "Kept with the order; clients are told.", { autocomplete: "off" });
const DRAIN = () => [
  h("div", { class: "pair" },
    number("guard", "Guard, seconds", "When all associations are gone at the latest."),
    number("retryAfter", "Retry-After, seconds", "How long clients stay away.")),
  h("details", {}, h("summary", {}, "More"),
    h("div", { class: "pair" },
      number("over", "Gradually over, seconds", "A rising share is refused first."),
      choice("announce", "Announce", [["", "as configured"], ["both", "at once and in answers"], ["broadcast", "at once"], ["in-answer", "in answers"]]))),
];

const clean = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null && value !== "" && value !== undefined));
const calls = (node) => node.standing.waiting ?? 0;
const word = (record) => record.outcome === "queued"
  ? `${record.node}: ${record.order.kind} is queued${record.text ? `: ${record.text}` : ""}`
  : `${record.node}: ${record.order.kind} ${record.outcome === "done" ? "done" : "obeyed"}`;
const give = (values) => ask("POST", "orders", clean(values)).then(word);

function reach(node) {
  const clients = store.mesh.filter((one) => one.server === node.name && one.active).length;
  return node.role === "server" && clients ? `${count(clients, "client")} will use other servers meanwhile.` : "";
}

function others(node) {
  const serving = nodesOf(node.role).filter((one) => one.name !== node.name && one.group === node.group && shown(one) === "serving");
  if (serving.length) return `${count(serving.length, node.role)} of group ${node.group} will still be serving.`;
  return `No other ${node.role} of group ${node.group} is serving: new calls will have nowhere to go but TDM.`;
}

function drainSays(node, values) {
  return [
    values.over ? `Over ${seconds(values.over)}, a rising share of new calls is refused; then all.` : "New calls are refused at once.",
    calls(node) ? `The ${count(calls(node), "call")} that are being set up now are finished.` : "No call is being set up now.",
    `Then its ${count(node.standing.associations ?? 0, "association")} are shut down, after ${values.guard ? seconds(values.guard) : "the guard that is configured"} at the latest.`,
    values.then === "exit" ? "Then its process ends." : values.then === "run" ? "Then its maintenance command is run." : values.then === "stay" ? "It stays offline until it is resumed." : "",
    reach(node), others(node),
  ].filter(Boolean);
}

export function drain(node) {
  const found = h("div", { class: "found", "aria-live": "polite" });
  const extra = {
    place: found,
    button: may("rehearse") && h("button", { type: "button", onclick: rehearse }, "Rehearse"),
  };
  async function rehearse() {
    found.replaceChildren(h("p", { class: "dim" }, "Rehearsing…"));
    const { queue, ...asked } = extra.values();
    try {
      const record = await ask("POST", "orders", clean({ node: node.name, kind: "rehearse", ...asked }));
      const result = record.result?.now ?? record.result ?? {};
      found.replaceChildren(h("dl", { class: "facts" }, [
        ["Guard", `${seconds(result.guard)}, by force after ${seconds(result.forcedAfter)}`],
        ["Likely needed", `${seconds(result.guardEstimate)} (${result.estimatedFrom})`],
        ["Calls waiting", result.waiting], ["Cut off", result.cutOff],
        ["Refused until drained", result.refusedBefore], ["Retry-After", seconds(result.retryAfter)],
      ].filter(([, value]) => value !== undefined).map(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))])));
    } catch (error) { found.replaceChildren(h("p", { class: "trouble" }, error.message)); }
  }
  form({
    title: `Drain ${node.name}`, go: `Drain ${node.name}`, extra,
    fields: [WHY(), DRAIN(),
      choice("then", "Afterwards", [["", "as configured"], ["stay", "it stays offline"], ["run", "the maintenance command is run"], ["exit", "its process ends"]]),
      h("label", { class: "check" }, h("input", { type: "checkbox", name: "queue" }), "Wait in the queue if the budget has no room")],
    does: (values) => ({ lines: drainSays(node, values) }),
    act: (values) => give({ node: node.name, kind: "drain", ...values, queue: values.queue || null }),
  });
}

const SIMPLE = {
  cancel: ["Take the drain back", "warn", () => ["It serves again at once; its associations were not touched."]],
  resume: ["Resume", "good", (node) => [`${node.name} listens again, and clients come back to it as they find it.`]],
};

export function simple(kind, node) {
  const [title, , does] = SIMPLE[kind];
  form({
    title: `${title}: ${node.name}`, go: title, fields: [WHY()],
    does: () => ({ lines: does(node) }),
    act: ({ why }) => give({ node: node.name, kind, why }),
  });
}

export function extend(node) {
  form({
    title: `Extend the drain of ${node.name}`, go: "Extend",
    fields: [number("guard", "More time, seconds", "", { value: 30, min: 1, required: true, placeholder: "" }), WHY()],
    does: ({ guard }) => guard > 0
      ? { lines: [`The guard moves ${seconds(guard)} later, and with it the time that clients stay away.`] }
      : { lines: [], wrong: "Say how many seconds more." },
    act: ({ guard, why }) => give({ node: node.name, kind: "extend", guard, why }),
  });
}

export function offline(node) {
  form({
    title: `Take ${node.name} offline at once`, go: "Take offline now", danger: true,
    fields: [text("name", `Type ${node.name} to confirm`, "", { autocomplete: "off", spellcheck: "false" }), WHY()],
    does: ({ name }) => ({
      lines: [
        `${count(calls(node), "call")} being set up will be ended by force, with a final failure.`,
        `${count(node.standing.associations ?? 0, "association")} will be aborted.`, others(node),
      ],
      wrong: name === node.name ? null : name ? "That is not its name." : "",
    }),
    act: ({ name, why }) => name === node.name
      ? give({ node: node.name, kind: "offline", why })
      : Promise.reject(new Error(`Type ${node.name} to confirm.`)),
  });
}

export function forget(node) {
  form({
    title: `Forget ${node.name}`, go: "Forget", danger: true,
    does: () => ({ lines: [`${node.name} is dropped from the fleet, and no budget counts it any more.`, "Should it link up again, it is back."] }),
    act: () => ask("DELETE", `nodes/${encodeURIComponent(node.name)}`).then(() => `${node.name} is forgotten`),
  });
}

export function pair(entry) {
  const facts = [
    ["Client's word", entry.state], ["Sends calls there", entry.active ? "yes" : "no"],
    ["Association, says the client", entry.associated ? "up" : "none"],
    ["Association, says the server", entry.serverSays === null ? "it does not say" : entry.serverSays ? "up" : "none"],
    ["Left alone for", entry.countdown ? seconds(entry.countdown) : "–"],
    ["Last test took", entry.latency === null ? "–" : `${(entry.latency * 1000).toFixed(1)} ms`],
    ["Overdue", entry.overdue ? "yes" : "no"], ["Skipped", entry.skipped ? "yes" : "no"],
  ];
  const kind = entry.skipped ? "unskip" : "skip";
  const list = h("dl", { class: "facts" }, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  const title = `${entry.client} → ${entry.server}`;
  if (!may(kind)) return info(title, list);
  form({
    title, go: kind === "skip" ? "Skip" : "Use again", fields: [list, WHY()],
    does: () => ({
      lines: [kind === "skip"
        ? `${entry.client} sends no new calls to ${entry.server}, whatever that says itself, until it is told to use it again. Calls under way there go on.`
        : `${entry.client} uses ${entry.server} again.`],
    }),
    act: ({ why }) => give({ node: entry.client, kind, server: entry.server, why }),
  });
}

export function info(title, ...content) {
  const box = dialog();
  box.replaceChildren(h("form", { method: "dialog" }, h("h2", { id: "dialog-title" }, title), content,
    h("p", { class: "buttons" }, h("button", { type: "submit", class: "primary", autofocus: true }, "Close"))));
  if (!box.open) box.showModal();
}

export function actions(node) {
  if (!node.linked) return may("offline") ? [["Forget…", () => forget(node), ""]] : [];
  const found = [], state = node.state;
  if (may("drain") && state === "serving") found.push(["Drain…", () => drain(node), ""]);
  if (may("cancel") && (state === "slowing" || state === "draining")) found.push(["Cancel…", () => simple("cancel", node), ""]);
  if (may("extend") && state === "draining") found.push(["Extend…", () => extend(node), ""]);
  if (may("resume") && state === "offline") found.push(["Resume…", () => simple("resume", node), ""]);
  if (may("offline") && state !== "offline") found.push(["Offline…", () => offline(node), "danger"]);
  return found;
}

// What loses calls is not offered at a glance.
export const buttons = (node, prefix = "", all = false) => actions(node).filter(([, , kind]) => all || kind !== "danger").map(([name, act, kind]) =>
  h("button", { type: "button", class: `small ${kind}`, onclick: act, "data-key": `${prefix}${node.name}:${name}`, "aria-label": `${name.replace("…", "")} ${node.name}` }, name));

export function details(node) {
  const facts = node.standing, order = facts.order;
  const rows = [
    ["Role", `${node.role}, group ${node.group}, version ${node.version}`],
    ["State", node.state], ["Link", node.linked ? `up since ${moment(node.since)}, from ${node.address}` : `lost at ${moment(node.since)}: ${node.lost}`],
    ["Last seen", moment(node.lastSeen)], node.controller && ["Controller", node.controller],
    ["Labels", Object.entries(node.labels).map(([name, value]) => `${name}=${value}`).join(", ") || "–"],
    ["Calls left", facts.waiting ?? "–"], ["Associations", facts.associations ?? "–"],
    ["Since start", `${facts.accepted ?? "–"} accepted, ${facts.settled ?? "–"} settled, ${facts.forced ?? "–"} by force, ${facts.refused ?? "–"} refused`],
    order && ["Order", `${order.kind} by ${order.who} at ${moment(order.when)}${order.why ? `: ${order.why}` : ""}`],
    node.state === "serving" && facts.awaited?.length && ["Waits for", facts.awaited.join(", ")],
    facts.missing?.length && ["Missing", facts.missing.join(", ")],
    facts.reroutes !== undefined && ["Rerouted", `${facts.reroutes} calls, ${facts.tdm ?? 0} to TDM`],
  ].filter(Boolean);
  info(node.name, h("dl", { class: "facts" }, rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))])),
    h("div", { class: "more", "aria-live": "polite" }, node.linked ? h("p", { class: "dim" }, "Asking it…") : null),
    h("p", { class: "buttons left" }, buttons(node, "details:", true),
      node.role === "server" && node.linked && may("reject") ? h("button", { type: "button", class: "small", onclick: () => reject(node) }, "Refuse calls…") : null));
  if (node.linked) told(node, dialog().querySelector(".more"));
}

// What the node itself tells, which takes a moment longer.
async function told(node, place) {
  try {
    const status = await ask("GET", `nodes/${encodeURIComponent(node.name)}/status`);
    const times = status.setupTimes ?? {};
    const rows = [
      ["Listens at", (status.listeners ?? []).join(", ") || "–"],
      ["Set-up takes", times.median === null || times.median === undefined ? "not known yet" : `${seconds(times.median)}, 99 % within ${seconds(times.p99)}`],
      status.guardEstimate && ["A drain would need", `${seconds(status.guardEstimate.seconds)} (${status.guardEstimate.basis})`],
      status.clients && ["Clients", Object.entries(status.clients).map(([name, up]) => `${name}: ${up}`).join(", ") || "none"],
      status.servers && ["Servers", status.servers.map((one) => `${one.name}: ${one.state.toLowerCase()}`).join(", ") || "none"],
    ].filter(Boolean);
    place.replaceChildren(h("dl", { class: "facts" }, rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))])));
    for (const one of status.rejects ?? [])
      place.append(h("p", {}, h("span", { class: "pill warn" }, "refuses"), ` ${one.name}: ${ruled(one.rule)}, by ${one.who}${one.why ? `: ${one.why}` : ""} `,
        may("admit") ? h("button", { type: "button", class: "small", onclick: () => admit(node, one) }, `Admit ${one.name}…`) : null));
  } catch (error) { place.replaceChildren(h("p", { class: "dim" }, error.message)); }
}

function ruled(text) {
  let rule;
  try { rule = JSON.parse(text); } catch { return text; }
  const side = (word, one) => (one ? `${word} ${Object.entries(one).map(([key, value]) => `${key} ${value}`).join(" ")}` : "");
  return [`${rule.status}`, side("from", rule.origin), side("to", rule.destination)].filter(Boolean).join(" ");
}

function reject(node) {
  const sides = [["", "anywhere"], ["network", "network"], ["client", "client"], ["domain", "domain"], ["prefix", "prefix"]];
  const rule = (values) => {
    const found = { name: values.name.trim(), status: values.status };
    if (values.fromWhat) found.origin = { [values.fromWhat]: values.from.trim() };
    if (values.toWhat) found.destination = { [values.toWhat]: values.to.trim() };
    return found;
  };
  form({
    title: `Refuse calls at ${node.name}`, go: "Refuse these calls",
    fields: [
      text("name", "Name of the rule", "By which it is taken back.", { autocomplete: "off", maxlength: 100 }),
      h("div", { class: "pair" }, choice("fromWhat", "From", sides), text("from", "which", "An address or network, a name, a host, or first characters.")),
      h("div", { class: "pair" }, choice("toWhat", "To", sides), text("to", "which")),
      number("status", "Answer", "A status code of SIP.", { value: 403, min: 400, max: 699, step: 1, placeholder: "" }), WHY(),
    ],
    does: (values) => {
      if (!values.name.trim()) return { lines: [], wrong: "Give the rule a name." };
      if (!values.fromWhat && !values.toWhat) return { lines: [], wrong: "Say which calls." };
      if ((values.fromWhat && !values.from.trim()) || (values.toWhat && !values.to.trim())) return { lines: [], wrong: "Say which." };
      return { lines: [
        `New calls ${values.fromWhat ? `from ${values.fromWhat} ${values.from} ` : ""}${values.toWhat ? `to ${values.toWhat} ${values.to} ` : ""}are answered ${values.status}.`,
        "Calls that were accepted go on. It stays until it is taken back.",
      ] };
    },
    act: (values) => give({ node: node.name, kind: "reject", rule: JSON.stringify(rule(values)), why: values.why }),
  });
}

function admit(node, one) {
  form({
    title: `Admit ${one.name} at ${node.name}`, go: "Admit", fields: [WHY()],
    does: () => ({ lines: [`Calls are no longer refused by the rule ${one.name} (${ruled(one.rule)}).`] }),
    act: ({ why }) => give({ node: node.name, kind: "admit", rule: one.name, why }),
  });
}

export function rolling() {
  const servers = nodesOf("server");
  const labels = [...new Set(servers.flatMap((one) => Object.entries(one.labels).map(([name, value]) => `${name}=${value}`)))].sort();
  const chosen = (values) => values.whom === "" ? servers : values.whom === "list"
    ? servers.filter((one) => values[`server:${one.name}`])
    : servers.filter((one) => { const [name, ...rest] = values.whom.split("="); return one.labels[name] === rest.join("="); });
  form({
    title: "Rolling maintenance", go: "Begin",
    fields: [
      choice("whom", "Of whom", [["", "all servers"], ...labels.map((one) => [one, one]), ["list", "these:"]]),
      h("fieldset", { class: "boxes" }, h("legend", { class: "hidden" }, "Servers"), servers.map((one) =>
        h("label", { class: "check" }, h("input", { type: "checkbox", name: `server:${one.name}` }), one.name))),
      h("div", { class: "pair" },
        number("atOnce", "At once", "", { value: 1, min: 1, step: 1, required: true }),
        number("settle", "Healthy for, seconds", "Before the next begins.", { value: 10, required: true })),
      choice("then", "When offline", [["run", "run the maintenance command"], ["stay", "just resume"], ["exit", "end the process, which is begun again"]], "run"),
      WHY(), DRAIN(),
    ],
    does: (values) => {
      document.querySelector(".boxes").hidden = values.whom !== "list";
      const whom = chosen(values), away = whom.filter((one) => shown(one) !== "serving");
      if (!whom.length) return { lines: [], wrong: "No server is chosen." };
      if (!(values.atOnce >= 1)) return { lines: [], wrong: "At least one at once." };
      return { lines: [
        `${count(whom.length, "server")}, ${values.atOnce === 1 ? "one after another" : `${values.atOnce} at once`}: ${whom.slice(0, 8).map((one) => one.name).join(", ")}${whom.length > 8 ? " …" : ""}.`,
        `Each is drained, ${values.then === "run" ? "its maintenance command is run, it is " : ""}resumed, and seen healthy by its clients for ${seconds(values.settle ?? 0)}.`,
        "It stops at the first trouble, and says where.",
        away.length ? `Mind: ${away.map((one) => `${one.name} is ${shown(one)}`).join(", ")}.` : "",
      ].filter(Boolean) };
    },
    act: (values) => {
      const { whom, atOnce, settle, then, why, guard, retryAfter, over, announce } = values;
      const asked = clean({ atOnce, settle, then, why, guard, retryAfter, over, announce });
      if (whom === "list") asked.servers = chosen(values).map((one) => one.name);
      else { const [name, ...rest] = whom.split("="); asked.select = whom ? { [name]: rest.join("=") } : {}; }
      return ask("POST", "rollings", asked).then((record) => `Rolling maintenance of ${count(record.servers.length, "server")} has begun`);
    },
  });
}

export function turn(record, verb) {
  const SAYS = {
    pause: ["Pause", "No further server is begun until it is told to proceed; those that have been begun are finished."],
    proceed: ["Proceed", "It goes on where it was."],
    stop: ["Stop", "Servers that have been begun are brought back into service; no further one is begun. It cannot be gone on with."],
  };
  form({
    title: `${SAYS[verb][0]} the rolling maintenance`, go: SAYS[verb][0], danger: verb === "stop",
    does: () => ({ lines: [SAYS[verb][1]] }),
    act: () => ask("POST", `rollings/${encodeURIComponent(record.id)}/${verb}`).then((found) => `The rolling maintenance is ${found.progress}`),
  });
}

export function withdraw(record) {
  form({
    title: `Withdraw: ${record.order.kind} ${record.node}`, go: "Withdraw",
    does: () => ({ lines: ["It is taken out of the queue, and nothing comes of it."] }),
    act: () => ask("POST", `orders/${encodeURIComponent(record.id)}/withdraw`).then(() => "It is withdrawn"),
  });
}

export function schedule() {
  const servers = nodesOf("server");
  form({
    title: "Schedule", go: "Schedule",
    fields: [
      choice("what", "What", [["drain", "drain a server"], ["resume", "resume a server"], ["rolling", "rolling maintenance of all servers"]]),
      choice("node", "Which", servers.map((one) => [one.name, one.name])),
      field("When", h("input", { type: "datetime-local", name: "when" }), "For once; leave empty for a cron line."),
      h("div", { class: "pair" },
        text("cron", "Cron line", "30 3 * * SUN", { placeholder: "minute hour day month weekday" }),
        text("zone", "Time zone", "", { value: Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC" })),
      WHY(), number("guard", "Guard, seconds", ""),
    ],
    does: ({ what, node, when, cron, zone }) => {
      if (!when === !cron) return { lines: [], wrong: when ? "Either a time or a cron line, not both." : "Say when." };
      const at = when ? new Date(when).getTime() / 1000 : 0;
      if (when && at <= now()) return { lines: [], wrong: "That time is over." };
      const whom = what === "rolling" ? "a rolling maintenance of all servers begins" : `${node} is told to ${what}`;
      return { lines: [`${when ? `At ${moment(at)}` : `Whenever “${cron}” says (${zone})`} ${whom}, in your name.`] };
    },
    act: ({ what, node, when, cron, zone, why, guard }) => {
      const values = what === "rolling" ? clean({ select: {}, why, guard }) : clean({ node, kind: what, why, guard });
      if (what === "rolling") values.select = {};
      const asked = { what: what === "rolling" ? "rolling" : "order", values };
      if (when) asked.at = new Date(when).getTime() / 1000; else Object.assign(asked, { cron, zone });
      return ask("POST", "schedules", asked).then((record) => `Scheduled${record.next ? ` for ${moment(record.next)}` : ""}`);
    },
  });
}

export function unschedule(record) {
  form({
    title: "Forget this schedule", go: "Forget", danger: true,
    does: () => ({ lines: ["It will not be ordered any more. What it has begun already goes on."] }),
    act: () => ask("DELETE", `schedules/${encodeURIComponent(record.id)}`).then(() => {
      store.schedules = store.schedules.filter((one) => one.id !== record.id);
      return "It is forgotten";
    }),
  });
}

export function announce() {
  const names = [...new Set([...store.mesh.map((one) => one.server), ...nodesOf("server").map((one) => one.name)])].sort();
  form({
    title: "Announce on a server's behalf", go: "Announce",
    fields: [
      choice("what", "What", [["gone", "it is unavailable"], ["back", "it is available again"]]),
      field("Server", h("input", { name: "server", list: "servers", required: true, autocomplete: "off" })),
      h("datalist", { id: "servers" }, names.map((one) => h("option", { value: one }))),
      number("retryAfter", "For so many seconds", "", { value: 120, min: 1, placeholder: "" }), WHY(),
    ],
    does: ({ what, server, retryAfter }) => {
      if (!server) return { lines: [], wrong: "" };
      if (what === "back") return { lines: [`All clients are told that ${server} is available again, and test it.`] };
      if (!(retryAfter > 0)) return { lines: [], wrong: "Say for how long." };
      return { lines: [`All clients are told that ${server} is unavailable, and send it no calls for ${seconds(retryAfter)}.`, "The server itself is told nothing: this is for one that hangs, or is none of ours."] };
    },
    act: async ({ what, server, retryAfter, why }) => {
      const path = `announcements/${encodeURIComponent(server)}`;
      const { told } = what === "gone" ? await ask("POST", path, clean({ retryAfter, why }))
        : await ask("DELETE", `${path}?why=${encodeURIComponent(why)}`);
      return `${count(told.length, "client")} told`;
    },
  });
}


