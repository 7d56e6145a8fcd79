"use strict";
// Where rows come from and votes go to: this file for a static page, the local server for a live one.
//
// #data holds {live, total, rows, pageRows}; a row is what prefgen/report/view/present.py makes: {position, id,
// method, variant, iteration, similarity, flags, model, source, source_id, image_tokens, kept_image_tokens, lengths:
// [chosen, rejected], licence, edit, prompt: [[role, text]], chosen and rejected: [[text, marks]], mask: {side, kept} or null,
// images: [{name, plain, noisy, rejected}]}.

const data = JSON.parse(document.getElementById("data").textContent);
const votes = new Map();  // by row id
const pageRows = data.pageRows || 20;

const joined = (parts) => parts.map((part) => part[0]).join("");

const STATIC = {
  cast: [],  // votes of this visit, for the download

  async start() {},

  async rows(query, start, id = "") {
    const text = query.search.toLowerCase();
    const inside = (row) => row.similarity !== null &&
      (query.low === "" || row.similarity >= Math.fround(query.low)) && (query.high === "" || row.similarity <= Math.fround(query.high));
    const found = data.rows.filter((row) =>
      (!text || [row.id, row.source_id, ...row.prompt.map((turn) => turn[1]), joined(row.chosen), joined(row.rejected)]
        .some((each) => each.toLowerCase().includes(text))) &&
      (!query.method || row.method === query.method) &&
      (!query.source || row.source === query.source) &&
      (!query.licence || row.licence === query.licence) &&
      (!query.vote || [votes.get(row.id) ?? "none", votes.has(row.id) && "any"].includes(query.vote)) &&
      (!query.iteration || String(row.iteration) === query.iteration) &&
      (!query.flag || row.flags.includes(query.flag)) &&
      ((query.low === "" && query.high === "") || inside(row)));
    const keys = {
      row: (row) => row.position, similarity: (row) => row.similarity, iteration: (row) => row.iteration,
      length: (row) => row.lengths[1] / Math.max(row.lengths[0], 1), edit: (row) => row.edit,
    };
    const key = keys[query.sort], sign = query.descending ? -1 : 1;
    found.sort((a, b) => (key(a) === null) - (key(b) === null) || sign * (key(a) - key(b)));
    const place = found.findIndex((row) => row.id === id);
    if (id) start = place < 0 ? -1 : place - place % pageRows;
    return {found: found.length, start, rows: start < 0 ? [] : found.slice(start, start + pageRows)};
  },

  async vote(row, vote, blind, rejectedFirst) {
    const time = new Date().toISOString().replace(/\.\d+Z$/, "+00:00");
    this.cast.push([row.id, row.source_id, vote, blind ? "yes" : "no", rejectedFirst ? "rejected first" : "chosen first", time]);
  },

  csv() {
    // A spreadsheet must not take a cell for a formula.
    const harmless = (cell) => (/^[=+\-@\t\r\0]/.test(cell) ? "'" + cell : cell);
    const quoted = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
    const rows = [["id", "source_id", "vote", "blind", "order", "time"], ...this.cast];
    return rows.map((row) => row.map((cell) => quoted(harmless(cell))).join(",") + "\r\n").join("");
  },
};

async function answered(response) {
  const body = await response.json();
  if (!response.ok) throw new Error(body.error);
  return body;
}

const LIVE = {
  async rows(query, start, id = "") {
    const asked = new URLSearchParams({...query, descending: query.descending ? "1" : "0", start, count: pageRows, id});
    return answered(await fetch(`rows?${asked}`));
  },

  sent: Promise.resolve(),

  async start() {
    for (const [id, vote] of Object.entries(await answered(await fetch("votes")))) votes.set(id, vote);
  },

  vote(row, vote, blind, rejectedFirst) {
    // One after the other: of several votes about a row the last one counts.
    const body = JSON.stringify({position: row.position, vote, blind, rejectedFirst});
    const sent = this.sent.then(() => fetch("votes", {method: "POST", body})).then(answered);
    this.sent = sent.catch(() => {});
    return sent;
  },
};

const source = data.live ? LIVE : STATIC;
