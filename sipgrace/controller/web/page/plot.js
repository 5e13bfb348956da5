// The course of a drain as a picture.

import { s } from "./dom.js";

const LEFT = 40, RIGHT = 12, BOTTOM = 34;

function ticks(most, about) {
  if (most <= 0) return [0];
  const rough = most / about, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough * 0.999);
  return Array.from({ length: Math.floor(most / step + 1e-9) + 1 }, (_, number) => step * number);
}

const short = (number) => String(Math.round(number * 1000) / 1000);

// columns: names; rows: [seconds, waiting, ...counts]; marks: [seconds, word]; end: how far the axis goes.
export function plot(columns, rows, marks, { end = 0, label = "The drain from moment to moment", limit = null, W = 460, H = 200 } = {}) {
  const TOP = marks.length ? 34 : 12;
  const last = Math.max(1, end, rows.length ? rows[rows.length - 1][0] : 0);
  const most = Math.max(1, ...rows.map((row) => Math.max(...row.slice(1))));
  const x = (at) => LEFT + ((W - LEFT - RIGHT) * at) / last;
  const y = (number) => H - BOTTOM - ((H - TOP - BOTTOM) * number) / (most * 1.08);
  const steps = (column) => {
    let path = "", before = null;
    for (const row of rows) {
      if (before === null) path = `M${x(row[0]).toFixed(1)} ${y(row[column]).toFixed(1)}`;
      else if (row[column] !== before) path += `H${x(row[0]).toFixed(1)}V${y(row[column]).toFixed(1)}`;
      before = row[column];
    }
    // It has stayed so until now.
    return rows.length ? `${path}H${x(Math.max(end, rows[rows.length - 1][0])).toFixed(1)}` : "";
  };
  const picture = s("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label, class: "plot" });
  for (const number of ticks(most, 4)) {
    if (number !== Math.round(number)) continue;
    picture.append(
      s("path", { class: "grid", d: `M${LEFT} ${y(number).toFixed(1)}H${W - RIGHT}` }),
      s("text", { x: LEFT - 7, y: (y(number) + 4).toFixed(1), "text-anchor": "end" }, short(number)));
  }
  for (const at of ticks(last, W / 80))
    picture.append(s("text", { x: x(at).toFixed(1), y: H - BOTTOM + 17, "text-anchor": "middle" }, short(at)));
  picture.append(
    s("path", { class: "axis", d: `M${LEFT} ${H - BOTTOM}H${W - RIGHT}` }),
    s("text", { x: (LEFT + W - RIGHT) / 2, y: H - 3, "text-anchor": "middle" }, "seconds"));
  if (rows.length) {
    const ground = y(0).toFixed(1);
    picture.append(s("path", {
      class: "waiting", d: `${steps(1)}V${ground}H${x(rows[0][0]).toFixed(1)}Z`,
    }, s("title", {}, "calls waiting")));
    columns.forEach((name, at) => picture.append(
      s("path", { class: `line ${/^\w+$/.test(name) ? name : ""}`, d: steps(at + 2) }, s("title", {}, name))));
  }
  if (limit !== null && limit <= last)
    picture.append(s("path", { class: "limit", d: `M${x(limit).toFixed(1)} ${TOP}V${H - BOTTOM}` }, s("title", {}, "guard")));
  const ends = [0, 0];
  for (const [at, word] of marks) {
    if (at > last) continue;
    const width = 6.4 * word.length, left = Math.min(x(at) + 3, W - RIGHT - width);
    const row = Math.max(0, ends.findIndex((one) => one <= left));
    ends[row] = left + width + 6;
    picture.append(
      s("path", { class: "mark", d: `M${x(at).toFixed(1)} ${TOP - 4}V${H - BOTTOM}` }),
      s("text", { class: "word", x: left.toFixed(1), y: TOP - 8 - 13 * row }, word));
  }
  return picture;
}
