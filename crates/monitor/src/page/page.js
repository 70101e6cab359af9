// Fetches the data in each interval and shows it. Names come from the cluster, so that all text is inserted as text, never as HTML.
import { Chart, sparkline } from "./chart.js";

const of = (id) => document.getElementById(id);
const known = { status: null, groups: [], hour: new Map(), at: [], group: null, history: null };
const shown = {
  filter: "", only: "", limit: 200, partitions: 100,
  groups: { key: "status", down: true }, rows: { key: "lag", down: true },
};
let authorization = sessionStorage.getItem("authorization");
let timer;
let asking = 0;

// ---- words and numbers

const count = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en"));
function brief(value) {
  if (value === null || value === undefined) return "–";
  for (const [size, letter] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (value >= size) return `${(value / (letter === "k" ? 1e3 : size)).toFixed(1).replace(/\.0$/, "")}${letter}`;
  }
  return Number.isInteger(value) ? String(value) : value.toFixed(1);
}
function bytes(value) {
  if (value === null || value === undefined) return "–";
  for (const [size, unit] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (value >= size) return `${(value / size).toFixed(value < 10 * size ? 1 : 0)} ${unit}`;
  }
  return `${value} B`;
}
function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 360) / 10} h`;
  return `${Math.round(seconds / 86400)} d`;
}
const rate = (value) => (value === null || value === undefined ? "–" : value < 10 ? value.toFixed(1) : brief(Math.round(value)));
const badness = { null: -1, ok: 0, warn: 1, err: 2, stop: 3, stall: 4, rewind: 5, data_loss_imminent: 6 };
const words = { warn: "falls behind", err: "in trouble", stop: "stopped", stall: "stalled", rewind: "went back", data_loss_imminent: "data loss imminent" };
const word = (status) => (status === null ? "not known yet" : (words[status] ?? status));

// More than a day away, only the number is shown.
const losing = (seconds) => (seconds !== null && seconds < 86400 ? "data_loss_imminent" : "");

// ---- elements

function make(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}
function facts(place, pairs) {
  place.replaceChildren(...pairs.map(([term, value, kind]) => {
    const pair = make("div");
    pair.append(make("dt", term), make("dd", value, kind));
    return pair;
  }));
}
function row(cells) {
  const made = make("tr");
  for (const [label, content, kind] of cells) {
    const cell = make("td", undefined, kind);
    cell.dataset.label = label;
    cell.append(content instanceof Node ? content : make("span", content));
    made.append(cell);
  }
  return made;
}
const chip = (status) => make("span", word(status), `status ${status ?? "unknown"}`);

// ---- requests

async function ask(path) {
  const headers = authorization ? { authorization } : {};
  const answer = await fetch(path, { headers, signal: AbortSignal.timeout(15000) });
  if (answer.status === 401) throw { wantsLogin: true };
  const body = await answer.json();
  if (!answer.ok) throw { status: answer.status, message: body.error };
  return body;
}

async function refresh() {
  clearTimeout(timer);
  const mine = ++asking;
  let wait = 10;
  try {
    known.status = await ask("api/status");
    wait = Math.min(Math.max(known.status.interval_seconds, 1), 60);
    of("login").hidden = true;
    if (known.status.at !== null) {
      const name = chosen();
      if (name === null) {
        const [groups, history] = await Promise.all([ask("api/groups"), ask("api/history?seconds=3600&points=60")]);
        if (mine !== asking) return;
        known.groups = groups;
        known.at = history.at;
        known.hour = new Map(history.groups.map((group) => [group.group, group.lag]));
      } else {
        const group = encodeURIComponent(name);
        const [detail, history] = await Promise.all([
          ask(`api/groups/${group}`).catch((error) => { if (error.status === 404) return null; throw error; }),
          ask(`api/history?group=${group}&seconds=${option("span")}&points=240&partitions=7`),
        ]);
        if (mine !== asking) return;
        known.group = detail;
        known.history = history;
      }
    }
    if (mine !== asking) return;
    show();
  } catch (error) {
    if (mine !== asking) return;
    if (error.wantsLogin) return login();
    fail(error.message ? `The monitor cannot be asked: ${error.message}` : "The monitor does not answer.");
  }
  timer = setTimeout(() => (document.hidden ? undefined : refresh()), wait * 1000);
}

function login() {
  of("login").hidden = false;
  of("overview").hidden = of("detail").hidden = true;
  of("refused").textContent = authorization ? "It did not take that." : "";
  authorization = null;
  of("token").focus();
}

function fail(why) {
  of("failure").textContent = why ?? "";
  of("failure").hidden = !why;
}

// ---- display

const chosen = () => {
  const text = location.hash.slice(1);
  if (!text.startsWith("group=")) return null;
  try { return decodeURIComponent(text.slice(6)); } catch { return null; }
};
const option = (name) => document.querySelector(`input[name=${name}]:checked`).value;
const isBehind = (group) => badness[group.status] > 0;

function show() {
  const { status } = known;
  of("cluster").textContent = status.cluster ? `cluster ${status.cluster}` : "";
  of("state").textContent = status.at === null ? "waits for the first round"
    : `${status.ready ? "as of" : "not since"} ${new Date(status.at).toLocaleTimeString()}`;
  fail(status.ready || status.failure === null ? null : `No broker answers, so this is what was known before: ${status.failure}`);
  const findings = [...(status.findings ?? []).map((finding) => finding.message), ...(status.failures ?? [])];
  of("findings").hidden = findings.length === 0;
  of("findings").querySelector("summary").textContent = findings.length === 1 ? findings[0] : `${findings.length} things to look at`;
  of("findings").querySelector("ul").replaceChildren(...findings.slice(0, 100).map((text) => make("li", text)));
  const name = chosen();
  of("overview").hidden = name !== null;
  of("detail").hidden = name === null;
  if (name === null) showGroups(); else showGroup(name);
}

function sorted(items, { key, down }) {
  const value = (item) => (key === "status" ? badness[item.status] * 1e15 + Math.min(item.lag ?? 0, 1e14) : item[key]);
  const compare = (left, right) => {
    const [a, b] = [value(left), value(right)];
    if (a === null || a === undefined || b === null || b === undefined) {
      return (a === null || a === undefined ? 1 : 0) - (b === null || b === undefined ? 1 : 0);
    }
    const order = typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
    return down ? -order : order;
  };
  return [...items].sort(compare);
}

function mark(table, { key, down }) {
  for (const head of table.querySelectorAll("th[data-key]")) {
    if (head.dataset.key === key) head.setAttribute("aria-sort", down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
}

// Creates the rows again, and restores the focus.
function fill(table, rows) {
  const focused = document.activeElement?.closest?.("tr")?.dataset.name;
  table.tBodies[0].replaceChildren(...rows);
  if (focused !== undefined) rows.find((one) => one.dataset.name === focused)?.querySelector("a")?.focus({ preventScroll: true });
}

function showGroups() {
  document.title = "Consumer lag";
  const { groups } = known;
  const worst = groups.reduce((most, group) => (badness[group.status] > badness[most] ? group.status : most), null);
  const least = groups.map((group) => group.time_to_data_loss_seconds).filter((value) => value !== null);
  facts(of("sums"), [
    ["groups", count(groups.length)],
    ["not ok", groups.every((group) => group.status === null) ? "–" : count(groups.filter(isBehind).length), groups.some(isBehind) ? "warn" : ""],
    ["lag", brief(groups.reduce((sum, group) => sum + group.lag, 0))],
    ["furthest behind", span(groups.reduce((most, group) => Math.max(most, group.lag_seconds ?? 0), 0))],
    ...(least.length > 0 ? [["first data loss in", span(Math.min(...least)), losing(Math.min(...least))]] : []),
  ]);
  const wanted = shown.filter.toLowerCase();
  const found = sorted(groups, shown.groups).filter((group) =>
    group.group.toLowerCase().includes(wanted)
    && (shown.only === "" || (shown.only === "behind" ? isBehind(group) : group.status === shown.only)));
  of("count").textContent = found.length === groups.length ? "" : `${count(found.length)} of ${count(groups.length)}`;
  fill(of("groups"), found.slice(0, shown.limit).map((group) => {
    const link = make("a", group.group);
    link.href = `#group=${encodeURIComponent(group.group)}`;
    const hour = known.hour.get(group.group);
    const made = row([
      ["Group", link],
      ["Status", chip(group.status)],
      ["Lag", count(group.lag), "number"],
      ["Behind", span(group.lag_seconds), "number"],
      ["Last hour", hour ? sparkline(known.at, hour, `lag over the last hour, ${count(group.lag)} now`) : "", "spark"],
      ["Data loss in", span(group.time_to_data_loss_seconds), "number"],
      ["Members", count(group.members), "number"],
      ["State", group.state],
    ]);
    made.dataset.name = group.group;
    return made;
  }));
  mark(of("groups"), shown.groups);
  of("more").hidden = found.length <= shown.limit;
  of("more").textContent = `Show ${count(Math.min(found.length - shown.limit, 1000))} more`;
  of("none").hidden = found.length > 0;
  of("none").textContent = known.status.at === null ? "The first round has not ended yet."
    : groups.length === 0 ? "There is no consumer group, or none that is watched." : "No group is like that.";
  of("groups").hidden = found.length === 0;
}

const chart = new Chart(of("chart"));

function showGroup(name) {
  document.title = `${name} · consumer lag`;
  of("name").textContent = name;
  const { group, history } = known;
  if (history && history.group === name) drawHistory(history);
  if (!group || group.group !== name) {
    facts(of("facts"), [["state", group === null ? "not there (any more)" : "…"]]);
    for (const table of ["partitions", "members"]) fill(of(table), []);
    return;
  }
  facts(of("facts"), [
    ["status", word(group.status), group.status ?? "unknown"],
    ["state", group.state + (group.protocol ? ` (${group.protocol})` : "")],
    ["lag", count(group.lag)],
    ["behind", span(group.lag_seconds)],
    ["data loss in", span(group.time_to_data_loss_seconds), losing(group.time_to_data_loss_seconds)],
    ["members", count(group.members.length)],
    ["rebalances seen", count(group.rebalances)],
  ]);
  const rows = sorted(group.partitions, shown.rows);
  fill(of("partitions"), rows.slice(0, shown.partitions).map((one) => row([
    ["Topic", one.topic],
    ["Partition", String(one.partition), "number"],
    ["Status", chip(one.status)],
    ["Lag", count(one.lag), "number"],
    ["Behind", span(one.lag_seconds), "number"],
    ["Unread", bytes(one.lag_bytes), "number"],
    ["In/s", rate(one.produced_per_second), "number"],
    ["Out/s", rate(one.consumed_per_second), "number"],
    ["Caught up in", span(one.catch_up_seconds), "number"],
    ["Data loss in", span(one.time_to_data_loss_seconds), "number"],
    ["Committed", count(one.committed), "number"],
    ["End", count(one.end), "number"],
    ["Client", one.client ?? "–"],
  ])));
  mark(of("partitions"), shown.rows);
  of("more-partitions").hidden = rows.length <= shown.partitions;
  of("more-partitions").textContent = `Show ${count(Math.min(rows.length - shown.partitions, 1000))} more`;
  fill(of("members"), group.members.slice(0, 1000).map((member) => row([
    ["Client", member.client_id],
    ["Host", member.host],
    ["Partitions", count(member.partitions), "number"],
    ["Instance", member.instance_id ?? "–"],
    ["Member id", member.member_id],
  ])));
  of("members").hidden = group.members.length === 0;
  of("nobody").hidden = group.members.length > 0;
}

function drawHistory(history) {
  const unit = option("unit");
  const partitions = history.partitions.map((one, nth) => ({ name: `${one.topic}-${one.partition}`, mark: `s${nth}`, values: one[unit] }));
  const sum = { name: unit === "lag" ? "all partitions" : "furthest behind", mark: "sum", values: history[unit] };
  chart.draw({
    at: history.at,
    series: [sum, ...partitions],
    show: unit === "lag" ? brief : span,
    label: `Lag of ${history.group} over time, ${unit === "lag" ? "in records" : "in seconds"}`,
  });
}

// ---- keys and clicks

function pick(name, step) {
  const inputs = [...document.querySelectorAll(`input[name=${name}]`)];
  const at = inputs.findIndex((input) => input.checked) + step;
  const next = inputs[name === "unit" ? (at + inputs.length) % inputs.length : at];
  if (next) { next.checked = true; next.dispatchEvent(new Event("change", { bubbles: true })); }
}

function step(by) {
  const links = [...of("groups").querySelectorAll("tbody a")];
  const at = links.indexOf(document.activeElement);
  links[at < 0 ? 0 : Math.min(Math.max(at + by, 0), links.length - 1)]?.focus();
}

function theme() {
  const isDark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = isDark ? "light" : "dark";
  localStorage.setItem("theme", document.documentElement.dataset.theme);
}

const keys = {
  "/": () => { of("filter").focus(); of("filter").select(); },
  j: () => step(1), k: () => step(-1), ArrowDown: () => step(1), ArrowUp: () => step(-1),
  Escape: () => { if (chosen() !== null) location.hash = ""; },
  u: () => pick("unit", 1), "[": () => pick("span", -1), "]": () => pick("span", 1),
  d: theme, "?": () => of("help").showModal(),
};
document.addEventListener("keydown", (event) => {
  const field = event.target.closest("input[type=search], input[type=password], input[type=radio], select, dialog");
  if (field || event.ctrlKey || event.metaKey || event.altKey) {
    if (event.key === "Escape" && event.target.id === "filter") { of("filter").blur(); }
    if (event.key === "ArrowDown" && event.target.id === "filter") { event.preventDefault(); step(1); }
    return;
  }
  const isArrow = event.key.startsWith("Arrow");
  if (isArrow && (chosen() !== null || !event.target.closest("#groups"))) return; // they scroll
  const act = keys[event.key];
  if (act) { event.preventDefault(); act(); }
});

for (const [table, order] of [["groups", "groups"], ["partitions", "rows"]]) {
  for (const head of of(table).querySelectorAll("th[data-key]")) {
    head.addEventListener("click", () => {
      const { key } = head.dataset;
      const isText = ["group", "topic", "client", "state", "partition"].includes(key);
      shown[order] = { key, down: shown[order].key === key ? !shown[order].down : !isText };
      show();
    });
  }
}
of("filter").addEventListener("input", (event) => { shown.filter = event.target.value; if (known.status) showGroups(); });
of("only").addEventListener("change", (event) => { shown.only = event.target.value; if (known.status) showGroups(); });
of("more").addEventListener("click", () => { shown.limit += 1000; showGroups(); });
of("more-partitions").addEventListener("click", () => { shown.partitions += 1000; show(); });
of("unit").addEventListener("change", () => { if (known.history) drawHistory(known.history); });
of("span").addEventListener("change", refresh);
of("theme").addEventListener("click", theme);
of("keys").addEventListener("click", () => of("help").showModal());
of("login").addEventListener("submit", (event) => {
  event.preventDefault();
  authorization = `Bearer ${of("token").value}`;
  sessionStorage.setItem("authorization", authorization);
  of("token").value = "";
  refresh();
});
let before = null;
addEventListener("hashchange", () => {
  const name = chosen();
  shown.partitions = 100;
  if (known.status) show();
  if (name !== null) of("name").focus();
  else [...of("groups").querySelectorAll("tbody a")].find((link) => link.textContent === before)?.focus();
  before = name;
  refresh();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
before = chosen();
document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "";
if (!document.documentElement.dataset.theme) delete document.documentElement.dataset.theme;
refresh();
