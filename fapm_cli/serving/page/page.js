"use strict";

const SHOWN = 100;
const LOOK_MS = 400; // a decision that comes sooner after another picture was put there is not of it
const WORDS = { ok: "ok", review: "review", anomalous: "anomalous", error: "unreadable", judged: "no verdict" };
const MARKS = { good: "good", defect: "defect", unsure: "?" };
const KEYS = { g: "good", d: "defect", u: "unsure" };
const VIEWS = { heatmap: 1024, picture: 640, nearest: 640 };

const $ = (id) => document.getElementById(id);
const pictures = new Map(); // by id, the oldest first
const thumbnails = new Map(); // addresses of images that were fetched, by id
let current = null, live = true, changedAt = -Infinity, canDecide = false, token = sessionStorage.getItem("token") ?? "";

// --- Asking the service ------------------------------------------------------------------------

async function ask(path, options = {}) {
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const answer = await fetch(path, { ...options, headers });
  if (answer.status === 401) {
    $("ask").hidden = false;
    $("token").focus();
    throw new Error("a token is needed");
  }
  if (!answer.ok) throw new Error((await answer.json()).error ?? `error ${answer.status}`);
  return answer;
}

const addressOf = (one) =>
  `/banks/${encodeURIComponent(one.bank)}/pictures/${encodeURIComponent(one.id)}`;

async function imageOf(one, what, px) {
  const answer = await ask(`${addressOf(one)}/${what}?px=${px}`);
  return URL.createObjectURL(await answer.blob());
}

function state(text, bad = false) {
  $("state").textContent = text;
  $("state").classList.toggle("bad", bad);
}

async function begin() {
  const { banks, decisions } = await (await ask("/banks")).json();
  canDecide = decisions;
  const chosen = $("bank").value;
  $("bank").replaceChildren(new Option("all", ""), ...Object.keys(banks).map((name) => new Option(name)));
  $("bank").value = chosen in banks ? chosen : "";
  tellFaults(banks);
  const found = await (await ask(`/pictures?last=${SHOWN}`)).json();
  for (const id of [...pictures.keys()]) forget(id);
  $("strip").replaceChildren();
  for (const one of found.pictures.reverse()) take(one);
  if (!pictures.has(current)) current = null;
  show(current ?? newest());
}

function tellFaults(banks) {
  const faults = Object.entries(banks).filter(([, bank]) => bank.fault);
  $("fault").textContent = faults.map(([name, bank]) => `${name}: the bank loaded before goes on: ${bank.fault}`).join("; ");
  $("fault").hidden = !faults.length;
}

async function follow() {
  for (;;) {
    try {
      const answer = await ask("/events");
      await begin();
      state("connected");
      await read(answer.body.pipeThrough(new TextDecoderStream()).getReader());
      state("the service has stopped: trying again", true);
    } catch (error) {
      state(error.message.includes("token") ? error.message : "no connection: trying again", true);
      if (!$("ask").hidden) return;
    }
    await new Promise((done) => setTimeout(done, 2000));
  }
}

async function read(reader) {
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (text + value).split("\n\n");
    text = events.pop();
    for (const event of events) {
      const data = event.split("\n").find((line) => line.startsWith("data: "));
      if (data) take(JSON.parse(data.slice(6)), true);
    }
  }
}

// --- The strip ---------------------------------------------------------------------------------

const verdictOf = (one) => ("error" in one.record ? "error" : one.record.verdict ?? "judged");
const chosen = () => document.querySelector("[name=show]:checked").value;
const wanted = (one) =>
  (!$("bank").value || one.bank === $("bank").value) &&
  (chosen() === "all" || (chosen() === "undecided" ? !one.decision : verdictOf(one) === chosen()));
const shownOnes = () => [...pictures.values()].filter(wanted);
const newest = () => shownOnes().at(-1)?.id ?? null;

const watcher = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    watcher.unobserve(target);
    const one = pictures.get(target.dataset.id);
    if (one?.shown) void thumbnail(one, target);
  }
});

async function thumbnail(one, button) {
  try {
    const address = await imageOf(one, "picture", 96);
    if (!pictures.has(one.id)) return URL.revokeObjectURL(address);
    thumbnails.set(one.id, address);
    button.querySelector("img").src = address;
  } catch { /* it has no picture to show: its colour and name stay */ }
}

function take(one, isNew = false) {
  const known = pictures.has(one.id);
  pictures.set(one.id, one);
  if (known) {
    mark(one);
    if (current === one.id) show(one.id);
    return;
  }
  const item = document.createElement("li"), button = document.createElement("button");
  button.dataset.id = one.id;
  button.className = verdictOf(one);
  button.append(document.createElement("img"));
  button.firstChild.alt = "";
  button.addEventListener("click", () => choose(one.id));
  item.append(button);
  $("strip").append(item);
  mark(one);
  watcher.observe(button);
  while (pictures.size > SHOWN) forget(pictures.keys().next().value);
  if (isNew && live && wanted(one)) {
    if (current) changedAt = performance.now();
    show(one.id);
  }
  else if (current === null || !pictures.has(current)) show(newest());
}

const buttonOf = (id) => $("strip").querySelector(`[data-id="${CSS.escape(id)}"]`);

function mark(one) {
  const button = buttonOf(one.id);
  button.parentElement.hidden = !wanted(one);
  button.title = `${WORDS[verdictOf(one)]}, ${one.record.path}`;
  button.setAttribute("aria-label", `${button.title}${one.decision ? `, decided: ${one.decision}` : ""}`);
  button.querySelector(".mark")?.remove();
  if (!one.decision) return;
  const word = document.createElement("span");
  word.className = "mark";
  word.textContent = MARKS[one.decision];
  button.append(word);
}

function forget(id) {
  const button = buttonOf(id);
  watcher.unobserve(button);
  button.parentElement.remove();
  URL.revokeObjectURL(thumbnails.get(id));
  thumbnails.delete(id);
  pictures.delete(id);
}

// --- The picture that is looked at -------------------------------------------------------------

function show(id) {
  const one = pictures.get(id), changed = id !== current;
  current = one ? id : null;
  $("stage").hidden = !one;
  $("nothing").hidden = Boolean(one);
  $("nothing").textContent = pictures.size ? "No picture like that." : "No picture yet.";
  for (const old of $("strip").querySelectorAll("[aria-current]")) old.removeAttribute("aria-current");
  if (!one) return;
  buttonOf(id).setAttribute("aria-current", "true");
  buttonOf(id).scrollIntoView({ block: "nearest", inline: "nearest" });
  $("verdict").textContent = WORDS[verdictOf(one)];
  $("verdict").className = `badge ${verdictOf(one)}`;
  facts(one);
  for (const button of document.querySelectorAll("[data-decision]")) {
    button.setAttribute("aria-pressed", String(button.dataset.decision === one.decision));
    button.disabled = !canDecide || !one.shown;
  }
  $("decided").textContent = canDecide
    ? "" : "Decisions are kept where fapm serve was started with --keep FOLDER.";
  if (changed) void views(one);
}

function facts(one) {
  const { record } = one, number = (value) => value?.toPrecision(4);
  const rows = {
    score: number(record.score),
    threshold: number(record.threshold),
    "p-value": number(record.p_value),
    picture: record.path,
    bank: one.bank,
    at: new Date(one.time).toLocaleTimeString(),
    drift: record.drift?.alarm ? `alarm: ${record.drift.cause}` : undefined,
    note: record.error ?? (record.unlike ? "unlike the training pictures" : undefined),
  };
  $("facts").replaceChildren(...Object.entries(rows).filter(([, value]) => value !== undefined).map(([name, value]) => {
    const row = document.createElement("div"), term = document.createElement("dt"), said = document.createElement("dd");
    term.textContent = name;
    said.textContent = value;
    row.append(term, said);
    return row;
  }));
  $("near").textContent = record.nearest ? `nearest good part: ${record.nearest.name}` : "nearest good part";
}

async function views(one) {
  await Promise.all(Object.entries(VIEWS).map(async ([what, px]) => {
    const image = $(what);
    URL.revokeObjectURL(image.src);
    image.removeAttribute("src");
    try {
      const address = await imageOf(one, what === "heatmap" && !one.drawn ? "picture" : what, px);
      if (current === one.id) image.src = address;
      else URL.revokeObjectURL(address);
    } catch { /* it can't be shown: its place stays empty */ }
  }));
}

// --- What the operator does --------------------------------------------------------------------

function setLive(on) {
  live = on;
  $("live").setAttribute("aria-pressed", String(on));
  if (on) show(newest());
}

function choose(id) {
  changedAt = -Infinity; // whoever chose it knows which it is
  setLive(false);
  show(id);
}

function step(by) {
  const ids = shownOnes().map((one) => one.id), at = ids.indexOf(current);
  const next = at < 0 ? newest() : ids[at + by];
  if (next) choose(next);
}

async function decide(decision) {
  const one = pictures.get(current);
  if (!one || !canDecide || !one.shown) return;
  if (performance.now() - changedAt < LOOK_MS) {
    $("decided").textContent = "Not kept: another picture had just come. Look again.";
    return;
  }
  const ids = shownOnes().map((other) => other.id), at = ids.indexOf(one.id);
  try {
    const body = JSON.stringify({ decision });
    const answer = await ask(`${addressOf(one)}/decision`, { method: "POST", body, headers: { "Content-Type": "application/json" } });
    take(await answer.json());
  } catch (error) {
    $("decided").textContent = `Not kept: ${error.message}`;
    return;
  }
  const open = (id) => pictures.has(id) && !pictures.get(id).decision;
  const next = [...ids.slice(at + 1), ...ids.slice(0, Math.max(at, 0)).reverse()].find(open);
  if (current === one.id && !(live && wanted(pictures.get(one.id)))) show(next ?? newest());
  $("decided").textContent = `${one.record.path}: ${decision === "unsure" ? "not sure" : decision}`;
}

function refilter() {
  for (const one of pictures.values()) mark(one);
  if (live || !current || !wanted(pictures.get(current))) show(newest());
}

for (const button of document.querySelectorAll("[data-decision]")) {
  button.addEventListener("click", () => void decide(button.dataset.decision));
}
$("older").addEventListener("click", () => step(-1));
$("newer").addEventListener("click", () => step(1));
$("live").addEventListener("click", () => setLive(!live));
$("bank").addEventListener("change", refilter);
$("filter").addEventListener("change", refilter);
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value;
  sessionStorage.setItem("token", token);
  $("ask").hidden = true;
  void follow();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=password], select")) return;
  const key = event.key.toLowerCase();
  if (key in KEYS) void decide(KEYS[key]);
  else if (key === "l") setLive(!live);
  else if (event.target.matches("input")) return; // arrows move between filters
  else if (key === "arrowleft") step(-1);
  else if (key === "arrowright") step(1);
  else return;
  event.preventDefault();
});
setInterval(async () => {
  try { tellFaults((await (await ask("/banks")).json()).banks); } catch { /* the stream says so */ }
}, 10000);

void follow();
