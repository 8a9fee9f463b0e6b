"use strict";

const EVERY_MS = 500;
const MOST_CARDS = 400;
const element = (id) => document.getElementById(id);
const search = element("search");
const live = element("live");
const fresh = element("fresh");
let waiting = [];

// Times are in UTC until here; people read their own.
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const minutes = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

function localise(root) {
  const today = new Date().toDateString();
  for (const time of root.querySelectorAll("time:not([title])")) {
    const at = new Date(time.dateTime);
    const isToday = at.toDateString() === today;
    if (time.classList.contains("short")) time.textContent = minutes.format(at);
    else time.textContent = (isToday ? "" : `${day.format(at)}, `) + clock.format(at);
    time.title = exact.format(at);
  }
}

function parsed(html) {
  const page = document.createElement("template");
  page.innerHTML = html;
  localise(page.content);
  return page.content;
}

// A list of links changes under the eyes of somebody who may have one in focus.
function swapLinks(id, content) {
  const old = element(id);
  const next = content.querySelector(`#${id}`);
  if (old.innerHTML === next.innerHTML) return;
  const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  const { scrollLeft, scrollTop } = old;
  old.replaceChildren(...next.childNodes);
  old.scrollLeft = scrollLeft;
  old.scrollTop = scrollTop;
  if (focused !== null) [...old.children].find((link) => link.getAttribute("href") === focused)?.focus();
}

function place(card) {
  const cards = element("cards");
  const number = Number(card.dataset.number);
  const known = cards.querySelector(`:scope > [data-number="${number}"]`);
  if (known !== null) {
    known.classList.toggle("repeated", card.classList.contains("repeated"));
    known.classList.toggle("replaced", card.classList.contains("replaced"));
    known.querySelector(".marks").replaceWith(card.querySelector(".marks"));
    return;
  }
  card.classList.add("new");
  const below = [...cards.children].find((other) => Number(other.dataset.number) < number);
  cards.insertBefore(card, below ?? null);
}

// Where somebody reads further down, nothing moves until they ask for it.
function showWaiting() {
  waiting.forEach(place);
  waiting = [];
  fresh.hidden = true;
  const cards = element("cards");
  if (cards.children.length <= MOST_CARDS) return;
  while (cards.children.length > MOST_CARDS) cards.lastElementChild.remove();
  const query = new URLSearchParams(location.search);
  query.set("before", cards.lastElementChild.dataset.number);
  element("older").href = `/?${query}`;
  element("older").hidden = false;
}

function take(content) {
  const cards = element("cards");
  const next = content.querySelector("#cards");
  swapLinks("people", content);
  swapLinks("tabs", content);
  if (cards.dataset.show === "refused") {
    if (cards.dataset.refused !== next.dataset.refused) cards.replaceChildren(...next.children);
  } else if (cards.dataset.names !== next.dataset.names || next.dataset.cut !== undefined) {
    // Names stand on every card, and what is cut has a gap below it.
    go(location.pathname + location.search, { isNew: false });
  } else {
    const known = (card) => cards.querySelector(`:scope > [data-number="${card.dataset.number}"]`) !== null;
    const arrived = [...next.children];
    arrived.filter(known).forEach(place);
    waiting.push(...arrived.filter((card) => !known(card)));
    if (scrollY < 80) showWaiting();
    fresh.textContent = `${waiting.length} new`;
    fresh.hidden = waiting.length === 0;
  }
  for (const name of ["after", "refused", "names"]) cards.dataset[name] = next.dataset[name];
}

async function refresh() {
  const seen = element("cards").dataset;
  if (seen.before !== undefined || document.hidden) return;
  const query = new URLSearchParams(location.search);
  for (const name of ["after", "refused", "names"]) query.set(name, seen[name]);
  const asked = location.href;
  const answer = await fetch(`/cards?${query}`);
  if (answer.status === 200) {
    const html = await answer.text();
    if (location.href === asked) take(parsed(html));
  } else if (!answer.ok) throw new Error(answer.statusText);
}

function say(word, state) {
  if (live.className !== state) live.className = state;
  const place = live.querySelector(".word");
  if (place.textContent !== word) place.textContent = word;
}

async function keepFresh() {
  try {
    await refresh();
    if (element("cards").dataset.before === undefined) say("live", "");
    else say("older", "still");
  } catch {
    say("not connected", "lost");
  }
  setTimeout(keepFresh, EVERY_MS);
}

let latest = 0;

async function go(address, { isNew = true } = {}) {
  const turn = ++latest;
  const answer = await fetch(address);
  if (!answer.ok) return location.assign(address);
  const html = await answer.text();
  if (turn !== latest) return;
  const next = parsed(html);
  if (isNew) history.pushState(null, "", address);
  waiting = [];
  fresh.hidden = true;
  swapLinks("people", next);
  document.querySelector("main").replaceWith(next.querySelector("main"));
  const fields = next.querySelector("form");
  search.form.querySelectorAll("[type=hidden]").forEach((field) => field.remove());
  search.form.prepend(...fields.querySelectorAll("[type=hidden]"));
  if (document.activeElement !== search) search.value = fields.querySelector("#search").value;
  document.title = new URLSearchParams(location.search).get("who") ?? "Inbox";
  scrollTo(0, 0);
}

function searchAddress() {
  const query = new URLSearchParams([...new FormData(search.form)].filter(([, value]) => value.trim() !== ""));
  return query.size ? `/?${query}` : "/";
}

let typing;
search.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(async () => {
    const address = searchAddress();
    history.replaceState(null, "", address);
    await go(address, { isNew: false });
  }, 200);
});
search.form.addEventListener("submit", (event) => event.preventDefault());

document.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!isPlain || link === null || link.target !== "" || link.hasAttribute("download")) return;
  const url = new URL(link.href);
  if (url.origin !== location.origin || url.pathname !== "/") return;
  event.preventDefault();
  go(url.pathname + url.search);
});

fresh.addEventListener("click", () => {
  showWaiting();
  scrollTo({ top: 0 });
});
addEventListener("scroll", () => { if (scrollY < 80 && waiting.length) showWaiting(); }, { passive: true });
addEventListener("popstate", () => go(location.pathname + location.search, { isNew: false }));

function step(by) {
  const cards = [...element("cards").children];
  const at = cards.findIndex((card) => card.contains(document.activeElement));
  const next = cards[at < 0 ? 0 : at + by];
  next?.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey) return;
  if (event.target === search) {
    if (event.key === "Escape") search.blur();
    return;
  }
  if (event.target.closest("input, pre")) return;
  if (event.key === "/") {
    event.preventDefault();
    search.select();
    search.focus();
  } else if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
});

localise(document);
setTimeout(keepFresh, EVERY_MS);
