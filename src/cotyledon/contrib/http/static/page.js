// Keeps the page as its server shows it. All texts come as HTML that the server has escaped; a
// document that is only parsed runs nothing, and the policy of the page forbids it anyway.
"use strict";

const MOST_ENTRIES = 200;
const AGAIN = 3000; // milliseconds until the next attempt after the browser has given up

const byId = (id) => document.getElementById(id);
const tools = byId("tools");
const filter = byId("filter");
const log = byId("log");
const help = byId("help");
let after = document.body.dataset.after;

function parse(html) {
  return new DOMParser().parseFromString(html, "text/html").body;
}

// Changes an element into another one as little as possible, so that focus, selection and what
// was opened stay as they are.
function become(mine, theirs) {
  if (mine.nodeType !== Node.ELEMENT_NODE) {
    if (mine.data !== theirs.data) mine.data = theirs.data;
    return;
  }
  for (const { name, value } of theirs.attributes) {
    if (mine.getAttribute(name) !== value) mine.setAttribute(name, value);
  }
  for (const { name } of [...mine.attributes]) {
    if (!theirs.hasAttribute(name) && name !== "open") mine.removeAttribute(name);
  }
  const keyed = new Map();
  for (const child of mine.children) {
    if (child.dataset.key) keyed.set(child.dataset.key, child);
  }
  let at = mine.firstChild;
  for (const wanted of [...theirs.childNodes]) {
    const key = wanted.dataset?.key;
    const found = key ? keyed.get(key) : at && !at.dataset?.key ? at : null;
    if (!found || found.nodeName !== wanted.nodeName) {
      mine.insertBefore(document.importNode(wanted, true), at);
      continue;
    }
    if (found === at) at = at.nextSibling;
    else mine.insertBefore(found, at);
    become(found, wanted);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

// --- the filter

function applyFilter() {
  const wanted = filter.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const matches = (text) => wanted.every((word) => text.toLowerCase().includes(word));
  let count = 0;
  for (const service of document.querySelectorAll(".service")) {
    let some = wanted.length === 0;
    for (const row of service.querySelectorAll(".worker")) {
      row.hidden = !matches(`${service.dataset.name} ${row.textContent}`);
      some ||= !row.hidden;
      count += !row.hidden;
    }
    service.hidden = !some;
  }
  for (const entry of log.children) entry.hidden = !matches(entry.textContent);
  const found = wanted.length ? `${count} ${count === 1 ? "worker" : "workers"}` : "";
  if (byId("found").value !== found) byId("found").value = found;
}

// --- the stream

let connected = false;

function tellLink() {
  const live = connected && !byId("summary").hasAttribute("data-cut-off");
  const text = live ? "live" : "";
  if (byId("link").textContent !== text) byId("link").textContent = text;
  byId("lost").hidden = connected;
}

function tellConnected(yes) {
  connected = yes;
  tellLink();
}

function show(html) {
  const parsed = parse(html);
  for (const id of ["summary", "services"]) become(byId(id), parsed.querySelector(`#${id}`));
  document.title = byId("summary").dataset.title;
  tellLink();
  applyFilter();
}

function add(html) {
  log.prepend(...parse(html).children);
  while (log.children.length > MOST_ENTRIES) log.lastElementChild.remove();
  applyFilter();
}

function follow() {
  const stream = new EventSource(`/live?after=${after}`);
  stream.addEventListener("open", () => tellConnected(true));
  stream.addEventListener("hello", (event) => {
    const { manager } = JSON.parse(event.data);
    if (manager === null) return; // its server has not reached it yet
    const known = document.body.dataset.manager;
    document.body.dataset.manager = manager;
    // Another manager: what is here is not about it.
    if (known && known !== String(manager)) location.reload();
  });
  stream.addEventListener("status", (event) => show(event.data));
  stream.addEventListener("log", (event) => {
    after = event.lastEventId;
    add(event.data);
  });
  stream.addEventListener("error", () => {
    tellConnected(false);
    if (stream.readyState === EventSource.CLOSED) setTimeout(follow, AGAIN);
  });
  addEventListener("pagehide", () => stream.close(), { once: true });
}

// --- the keyboard

function step(by) {
  const stops = [...document.querySelectorAll(".worker summary")].filter((one) =>
    one.checkVisibility(),
  );
  const at = stops.indexOf(document.activeElement);
  const next = at < 0 ? (by > 0 ? 0 : stops.length - 1) : at + by;
  stops[next]?.focus();
}

function openHelp() {
  if (!help.open) help.showModal();
}

const keys = {
  "/": () => filter.focus(),
  "?": openHelp,
  j: () => step(1),
  k: () => step(-1),
  e: () => log.focus(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  if (event.key === "Escape") {
    filter.value = "";
    filter.blur();
    applyFilter();
  } else if (event.target !== filter && Object.hasOwn(keys, event.key)) {
    event.preventDefault();
    keys[event.key]();
  }
});
filter.addEventListener("input", applyFilter);
tools.addEventListener("submit", (event) => event.preventDefault());
byId("help-button").addEventListener("click", openHelp);
addEventListener("pageshow", (event) => event.persisted && location.reload());

tools.hidden = false;
follow();
