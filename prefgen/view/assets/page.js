"use strict";
// The page: asks the source for rows, shows them, and listens to keys and buttons.

const at = (id) => document.getElementById(id);
const FIELDS = ["search", "method", "iteration", "flag", "source", "licence", "vote", "low", "high", "sort"].filter((name) => at(name));
const state = {start: 0, found: 0, rows: [], current: 0, blind: false, asked: 0};

function query() {
  const asked = {search: "", method: "", iteration: "", flag: "", source: "", licence: "", vote: "", low: "", high: "", sort: "row"};
  for (const name of FIELDS) asked[name] = at(name).value;
  return {...asked, descending: pressed("descending")};
}

const pressed = (id) => at(id).getAttribute("aria-pressed") === "true";

function toggle(id, on = !pressed(id)) {
  at(id).setAttribute("aria-pressed", String(on));
  return on;
}

async function show(start, current = 0, id = "") {
  const number = ++state.asked;  // an answer that a later question has overtaken is thrown away
  try {
    const answer = await source.rows(query(), start, id);
    if (number !== state.asked) return;
    if (answer.start < 0) {
      at("message").textContent = `No pair with the id ${id} is among these.`;
      if (!state.rows.length) await show(0);
      return;
    }
    Object.assign(state, {start: answer.start, found: answer.found, rows: answer.rows});
    if (id) current = answer.rows.findIndex((row) => row.id === id);
    draw(current < 0 ? answer.rows.length - 1 : current);
    if (id) select(state.current);
    at("message").textContent = answer.found ? "" : "No pair is like that. Reset shows all again.";
    showCount();
  } catch (error) {
    if (number === state.asked) at("message").textContent = `The rows cannot be had: ${error.message}`;
  }
}

function showCount() {
  const [found, held, total] = [state.found, data.live ? data.total : data.rows.length, data.total].map((count) => count.toLocaleString("en"));
  at("count").textContent = found !== held ? `${found} of ${held} pairs` : held !== total ? `${held} of ${total} pairs` : `${total} pairs`;
}

function draw(current) {
  const searched = at("search").value;
  at("cards").replaceChildren(...state.rows.map((row) => card(row, state.blind, vote, searched)));
  const last = state.start + state.rows.length;
  at("where").textContent = state.found ? `${(state.start + 1).toLocaleString("en")} – ${last.toLocaleString("en")} of ${state.found.toLocaleString("en")}` : "";
  at("previous").disabled = state.start === 0;
  at("next").disabled = last >= state.found;
  at("pager").hidden = state.found <= pageRows;
  at("voted").textContent = votes.size ? `${votes.size.toLocaleString("en")} voted` : "";
  showNoise();
  select(current, false);
}

function select(place, scroll = true) {
  const cards = at("cards").children;
  if (cards[state.current]) cards[state.current].classList.remove("current");
  state.current = place;
  if (!cards[place]) return;
  cards[place].classList.add("current");
  if (scroll) cards[place].scrollIntoView({block: "nearest"});
}

function move(step) {
  const place = state.current + step;
  if (place >= 0 && place < state.rows.length) select(place);
  else if (step > 0) page(1);
  else page(-1, -1);
}

async function page(step, current = 0) {
  const start = state.start + step * pageRows;
  if (start < 0 || start >= state.found) return;
  await show(start, current);
  if (current === 0) window.scrollTo(0, 0);
  else select(state.current);
}

async function vote(row, name, rejectedFirst) {
  try {
    await source.vote(row, name, state.blind, rejectedFirst);
  } catch (error) {
    at("message").textContent = `The vote was not saved: ${error.message}`;
    return;
  }
  votes.set(row.id, name);
  const place = state.rows.indexOf(row);
  for (const button of at("cards").children[place]?.querySelectorAll(".votes button") ?? []) {
    button.setAttribute("aria-pressed", String(button.dataset.vote === name));
  }
  at("voted").textContent = `${votes.size.toLocaleString("en")} voted`;
}

function blind() {
  state.blind = toggle("blind");
  document.body.classList.toggle("blind", state.blind);
  draw(state.current);
}

function mask() {
  document.body.classList.toggle("masked", toggle("mask"));
}

function noise() {
  toggle("noise");
  showNoise();
}

function showNoise() {
  const noised = document.querySelectorAll("img[data-noisy]");
  at("noise").hidden = !noised.length;
  for (const img of noised) {
    const address = pressed("noise") ? img.dataset.noisy : img.dataset.plain;
    if (img.getAttribute("src") !== address) img.src = address;
  }
}

function help() {
  at("legend").hidden = !toggle("help");
}

function theme(name) {
  document.documentElement.classList.toggle("dark", name === "dark");
  document.documentElement.classList.toggle("light", name === "light");
}

const KEYS = {
  j: () => move(1), k: () => move(-1), n: () => page(1), p: () => page(-1), b: blind, m: mask, i: noise, "?": help,
  "/": () => at("search").focus(),
};
for (const place of [0, 1, 2]) {
  KEYS[place + 1] = () => at("cards").children[state.current]?.querySelectorAll(".votes button")[place].click();
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select");
  if (typing && event.key === "Escape") event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});
let waiting = 0;
at("tools").addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => show(0), 200);  // while somebody is typing
});
at("tools").addEventListener("submit", (event) => event.preventDefault());
at("tools").addEventListener("reset", () => {
  toggle("descending", false);
  setTimeout(() => show(0));  // once the fields are empty
});
at("descending").addEventListener("click", () => {
  at("descending").textContent = toggle("descending") ? "↑" : "↓";
  show(0);
});
at("cards").addEventListener("click", (event) => {
  const place = [...at("cards").children].indexOf(event.target.closest(".card"));
  if (place >= 0) select(place, false);
});
at("full").addEventListener("click", () => at("full").close());
at("filters").addEventListener("click", () => document.body.classList.toggle("filtering", toggle("filters")));
window.addEventListener("hashchange", openLink);
at("blind").addEventListener("click", blind);
at("mask").addEventListener("click", mask);
at("noise").addEventListener("click", noise);
at("help").addEventListener("click", help);
at("previous").addEventListener("click", () => page(-1));
at("next").addEventListener("click", () => page(1));
at("theme").addEventListener("click", () => theme(document.documentElement.classList.contains("dark") ? "light" : "dark"));
at("download")?.addEventListener("click", () => {
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([source.csv()], {type: "text/csv"}));
  link.download = "votes.csv";
  link.click();
  URL.revokeObjectURL(link.href);
});

const dark = window.matchMedia("(prefers-color-scheme: dark)");
theme(dark.matches ? "dark" : "light");
dark.addEventListener("change", () => theme(dark.matches ? "dark" : "light"));
if (window.matchMedia("(max-width: 60rem)").matches) at("figures").open = false;
function openLink() {
  const id = decodeURIComponent(location.hash.slice(1));
  return show(0, 0, id);
}
source.start().then(openLink, (error) => { at("message").textContent = `The votes cannot be had: ${error.message}`; });
