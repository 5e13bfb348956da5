// How numbers, times and states are put.

export const count = (number, one, several) => `${number} ${number === 1 ? one : several ?? one + "s"}`;

export function seconds(time) {
  if (time === null || time === undefined) return "–";
  if (time < 10) return `${time.toFixed(1)} s`;
  if (time < 120) return `${Math.round(time)} s`;
  const whole = Math.round(time), minutes = Math.floor(whole / 60), hours = Math.floor(minutes / 60);
  if (hours >= 48) return `${Math.round(hours / 24)} days`;
  return hours ? `${hours} h ${minutes % 60} min` : `${minutes} min ${whole % 60} s`;
}

// Counting down: 1:05 rather than 65 s, so that the eye need not reckon.
export function clock(time) {
  const whole = Math.max(0, Math.ceil(time));
  const minutes = Math.floor(whole / 60), hours = Math.floor(minutes / 60);
  const two = (number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${two(minutes % 60)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

export function moment(epoch) {
  if (epoch === null || epoch === undefined) return "–";
  const at = new Date(epoch * 1000), today = new Date();
  const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  return at.toDateString() === today.toDateString() ? time : `${at.toLocaleDateString()} ${time}`;
}

// A shape for each state, for those who do not tell colours apart.
export const STATES = {
  serving: ["●", "good"], slowing: ["◔", "warn"], draining: ["◑", "warn"], drained: ["◕", "warn"],
  offline: ["○", "off"], returning: ["↻", "info"], unknown: ["?", "off"], lost: ["?", "bad"],
};

export const OUTCOMES = {
  queued: "info", sent: "info", obeyed: "warn", done: "good", refused: "bad", undone: "off", failed: "bad",
};

export const PROGRESS = { running: "info", paused: "warn", done: "good", stopped: "off", trouble: "bad" };

export const STEPS = {
  waiting: "off", draining: "warn", maintaining: "warn", returning: "info", settling: "info", done: "good", trouble: "bad",
};

export function said(order) {
  const parts = [];
  for (const [key, name] of [["guard", "guard"], ["retryAfter", "Retry-After"], ["over", "over"]])
    if (order[key] !== null && order[key] !== undefined) parts.push(`${name} ${seconds(order[key])}`);
  if (order.then) parts.push(`then ${order.then}`);
  if (order.server) parts.push(order.server);
  return parts.join(", ");
}
