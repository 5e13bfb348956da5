// Orders, rolling maintenance, schedules, reports, the audit log.

import { ask } from "./api.js";
import { info, rolling, schedule, turn, unschedule, withdraw } from "./dialogs.js";
import { h } from "./dom.js";
import { plot } from "./plot.js";
import { now, operates, store, touch } from "./store.js";
import { OUTCOMES, PROGRESS, STEPS, count, moment, said, seconds } from "./words.js";

const tag = (word, kinds) => h("span", { class: `pill ${kinds[word] ?? "off"}` }, word);
const newest = (map) => [...map.values()].sort((a, b) => b.at - a.at);
const button = (name, act, key, kind = "") => h("button", { type: "button", class: `small ${kind}`, onclick: act, "data-key": key }, name);

function table(name, heads, rows, none) {
  if (!rows.length) return h("p", { class: "dim" }, none);
  return h("div", { class: "scroll", "data-scroll": name, tabindex: 0, role: "region", "aria-label": name }, h("table", { class: "list" },
    h("thead", {}, h("tr", {}, heads.map((one) => h("th", { scope: "col" }, one)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((one, at) => h("td", { "data-head": heads[at] }, one)))))));
}

export function orders() {
  const rows = newest(store.orders).slice(0, 100).map((one) => [
    moment(one.at), h("strong", {}, one.node), [one.order.kind, h("span", { class: "dim" }, ` ${said(one.order)}`)],
    one.who, one.order.why || "", [tag(one.outcome, OUTCOMES), one.text && h("div", { class: "dim" }, one.text)],
    operates() && one.outcome === "queued" ? button("Withdraw…", () => withdraw(one), `withdraw:${one.id}`) : one.ended ? `after ${seconds(one.ended - one.at)}` : "",
  ]);
  return h("section", {}, h("h2", {}, "Orders"),
    table("Orders", ["Given", "Node", "Order", "By", "Reason", "Outcome", ""], rows, "None has been given yet."));
}

function roll(one) {
  const done = one.servers.filter((name) => one.steps[name] === "done").length;
  const open = ["running", "paused", "trouble"].includes(one.progress);
  return h("article", { class: `card wide ${PROGRESS[one.progress]}`, "aria-label": `Rolling maintenance ${one.progress}` },
    h("header", {}, h("h3", {}, `${done} of ${count(one.servers.length, "server")}`), tag(one.progress, PROGRESS)),
    h("progress", { max: one.servers.length, value: done, "aria-label": `${done} of ${one.servers.length} done` }),
    one.text && h("p", { class: one.progress === "trouble" ? "trouble" : "" }, one.text),
    h("ol", { class: "steps" }, one.servers.map((name) => h("li", { class: STEPS[one.steps[name]] ?? "off" }, h("strong", {}, name), ` ${one.steps[name]}`))),
    h("p", { class: "dim" }, `by ${one.who}, ${moment(one.at)}`, one.ended && `, ended ${moment(one.ended)} after ${seconds(one.ended - one.at)}`,
      `; ${one.values.atOnce ?? 1} at once${said(one.values) ? `, ${said(one.values)}` : ""}`, one.values.why && `: ${one.values.why}`),
    operates() && open && h("p", { class: "buttons left" },
      one.progress === "running" ? button("Pause…", () => turn(one, "pause"), `pause:${one.id}`) : button("Proceed…", () => turn(one, "proceed"), `proceed:${one.id}`),
      button("Stop…", () => turn(one, "stop"), `stop:${one.id}`, "danger")));
}

export function rollings(openOnly = false) {
  const found = newest(store.rollings).filter((one) => !openOnly || ["running", "paused", "trouble"].includes(one.progress));
  if (openOnly && !found.length) return null;
  return h("section", { "aria-label": "Rolling maintenance" }, h("div", { class: "title" }, h("h2", {}, "Rolling maintenance"),
    operates() && !openOnly && button("Begin…", rolling, "rolling", "primary")),
    found.length ? h("div", { class: "cards" }, found.slice(0, 20).map(roll)) : h("p", { class: "dim" }, "There has been none yet."));
}

export function schedules() {
  const rows = store.schedules.map((one) => [
    one.next ? moment(one.next) : "over", one.cron ? [h("code", {}, one.cron), ` ${one.zone}`] : "once",
    one.what === "order" ? `${one.values.kind} ${one.values.node}` : `rolling maintenance of ${one.values.servers ? one.values.servers.join(", ") : "the servers selected"}`,
    one.values.why ?? "", one.who, operates() ? button("Forget…", () => unschedule(one), `unschedule:${one.id}`) : "",
  ]);
  return h("section", {}, h("div", { class: "title" }, h("h2", {}, "Schedules"), operates() && button("Schedule…", schedule, "schedule", "primary")),
    table("Schedules", ["Next", "When", "What", "Reason", "By", ""], rows, "Nothing is to be ordered later."));
}

function report({ node, at, report: found }) {
  const line = found.timeline ?? { columns: [], rows: [] };
  const bad = found.forced || found.failed || found.aborted;
  const outcome = found.cancelled_after_s !== null && found.cancelled_after_s !== undefined ? `taken back after ${seconds(found.cancelled_after_s)}`
    : found.drained_after_s === null || found.drained_after_s === undefined ? "under way" : `drained after ${seconds(found.drained_after_s)}`;
  const lost = [found.forced && `${count(found.forced, "call")} ended by force`, found.failed && `${count(found.failed, "call")} dropped`,
    found.aborted && `${count(found.aborted, "association")} aborted`].filter(Boolean).join(", ") || "no call lost";
  const order = found.orders?.[0];
  return h("article", { class: "card wide", "aria-label": `Drain of ${node}` },
    h("header", {}, h("h3", {}, node), h("span", { class: `pill ${bad ? "bad" : "good"}` }, lost)),
    h("p", { class: "dim" }, `${moment(at)}, ${outcome}`, order && `, by ${order.who}${order.why ? `: ${order.why}` : ""}`),
    plot(line.columns.slice(2), line.rows, found.marks ?? [], { label: `Drain of ${node}: ${outcome}, ${lost}`, limit: found.guard_s ?? null }),
    h("ul", { class: "key" }, ["waiting", ...line.columns.slice(2)].map((name) => h("li", { class: /^\w+$/.test(name) ? name : "" }, h("i", {}), name))),
    h("p", { class: "dim" }, `${found.waiting} calls at the beginning, ${found.settled} settled, ${found.refused} refused, guard ${seconds(found.guard_s)}`,
      found.maintenance && `; maintenance: ${found.maintenance.timed_out ? "ended for taking too long" : found.maintenance.signal ? `ended by signal ${found.maintenance.signal}` : `exit status ${found.maintenance.exit_status}`} after ${seconds(found.maintenance.seconds)}`));
}

export function reports() {
  return h("section", {}, h("h2", {}, "Drains that are over"),
    store.reports.length ? h("div", { class: "cards" }, store.reports.map(report)) : h("p", { class: "dim" }, "No drain has been reported yet."));
}

let records = null, more = true, asked = 0;
async function fetchAudit(before) {
  asked = now();
  const found = (await ask("GET", `audit?limit=100${before ? `&before=${before}` : ""}`)).records;
  records = before ? [...records, ...found] : found;
  more = found.length === 100;
  touch();
}

export function audit() {
  if (records === null || (now() - asked > 5 && records.length <= 100)) fetchAudit().catch(() => {});
  const rows = (records ?? []).map((one) => [
    moment(one.at), [h("strong", {}, one.what), one.outcome ? ` ${one.outcome}` : "", one.order?.kind ? ` ${one.order.kind}` : ""],
    one.who ?? "", one.node ?? "", String(one.reason ?? one.why ?? one.text ?? (one.order?.why || "")), one.by ?? "",
    button("All", () => info("Record", h("pre", {}, JSON.stringify(one, null, 2))), `audit:${one.at}:${one.id ?? ""}`),
  ]);
  return h("section", {}, h("h2", {}, "Audit log"),
    table("Audit log", ["When", "What", "Who", "Node", "Why", "At", ""], rows, records === null ? "Reading…" : "It is empty."),
    more && records?.length ? button("Older", () => fetchAudit(records[records.length - 1].at), "older") : null);
}
