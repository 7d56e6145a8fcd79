"use strict";
// A pair as a card. Text from the data becomes text nodes and attribute values only, never markup.

const MARKS = [[1, "changed"], [2, "generated"], [4, "swapped"]];
const SVG = "http://www.w3.org/2000/svg";

function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

// Parts of a text, [[piece, marks]], as nodes in which the searched words are marked too, across parts.
function withHits(parts, searched) {
  const nodes = [];
  const pattern = searched && new RegExp(searched.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"), "giu");
  const hits = pattern ? [...joined(parts).matchAll(pattern)].map((hit) => [hit.index, hit.index + hit[0].length]) : [];
  let start = 0;
  for (const [piece, marks] of parts) {
    const end = start + piece.length;
    const names = MARKS.filter(([bit]) => marks & bit).map(([, name]) => name);
    const cuts = hits.flat().filter((place) => place > start && place < end);
    [start, ...cuts].forEach((from, number) => {
      const text = piece.slice(from - start, (cuts[number] ?? end) - start);
      const own = hits.some(([first, last]) => first <= from && from < last) ? [...names, "hit"] : names;
      nodes.push(own.length ? element("mark", own.join(" "), text) : text);
    });
    start = end;
  }
  return nodes;
}

function marked(parts, searched) {
  const text = element("div", "text", ...withHits(parts, searched));
  text.dir = "auto";
  return text;
}

function grid(mask) {
  const svg = document.createElementNS(SVG, "svg");
  const kept = new Set(mask.kept);
  const squares = {kept: "", hidden: ""};
  for (let place = 0; place < mask.side ** 2; place++) {
    squares[kept.has(place) ? "kept" : "hidden"] += `M${place % mask.side} ${Math.floor(place / mask.side)}h1v1h-1z`;
  }
  for (const [name, path] of Object.entries(squares)) {
    const shape = document.createElementNS(SVG, "path");
    shape.setAttribute("class", name);
    shape.setAttribute("d", path);
    svg.append(shape);
  }
  svg.setAttribute("class", "grid");
  svg.setAttribute("viewBox", `0 0 ${mask.side} ${mask.side}`);
  return svg;
}

function figure(row, image, place) {
  const img = element("img");
  img.alt = image.name;
  img.title = image.name;
  img.loading = "lazy";
  img.dataset.plain = image.plain;
  if (image.noisy) img.dataset.noisy = image.noisy;
  const open = element("button", "open", img);
  open.title = data.live ? `${image.name}: open in full size` : `${image.name}: a small copy; prefgen view shows it whole`;
  open.addEventListener("click", () => openFull(img));
  const frame = element("div", "frame", open);
  const overlay = row.mask && place === 0 ? grid(row.mask) : null;
  img.addEventListener("load", () => {
    img.classList.toggle("tiny", img.naturalWidth < 150);
    if (!overlay) return;
    const {naturalWidth: width, naturalHeight: height} = img, side = Math.min(width, height);
    overlay.style.inset = `${50 * (1 - side / height)}% ${50 * (1 - side / width)}%`;  // the central square
  });
  img.src = image.plain;
  if (overlay) frame.append(overlay);
  const caption = element("figcaption", "", image.rejected ? `rejected: ${image.name}` : image.name);
  return element("figure", image.rejected ? "rejected" : "", frame, caption);
}

function openFull(img) {
  const dialog = document.getElementById("full"), shown = dialog.querySelector("img");
  const address = img.getAttribute("src");
  shown.src = data.live ? `${address}&full=1` : address;
  shown.alt = img.alt;
  dialog.showModal();
}

function badges(row) {
  const kept = row.image_tokens ? [`${row.kept_image_tokens} of ${row.image_tokens} image tokens seen`] : [];
  const similarity = row.similarity === null ? [] : [`similarity ${row.similarity.toFixed(3)}`];
  const words = [...similarity, `iteration ${row.iteration}`, ...kept, `${Math.round(100 * row.edit)} % new`,
    [row.method, row.variant].filter(Boolean).join(" "), ...row.flags, ...[row.licence].filter(Boolean)];
  return words.map((word) => element("span", "badge", word));
}

function link(row) {
  const made = element("a", "row", `#${row.position + 1}`);
  made.href = `#${row.id}`;
  made.title = "Link to this pair";
  return made;
}

// Whether the rejected answer stands first when voting blind: as good as random, and the same at every visit.
function rejectedFirst(row) {
  let hash = 2166136261;
  for (const letter of row.id) hash = Math.imul(hash ^ letter.codePointAt(0), 16777619);
  return Boolean((hash >>> 13) & 1);
}

// What an answer claims, each with whether it holds and how likely "Yes" is as the answer to its question.
function claimed(checked, searched) {
  const lines = checked.map((claim) => {
    const line = element("li", claim.holds ? "holds" : "fails", ...withHits([[claim.text, 0]], searched),
      element("span", "probability", `${claim.holds ? "holds" : "rejected"}, p(yes) ${claim.p_yes.toFixed(2)}`));
    line.title = claim.question;
    line.dir = "auto";
    return line;
  });
  return element("ul", "claims", ...lines);
}

function card(row, blind, castVote, searched = "") {
  const swapped = blind && rejectedFirst(row);
  const answers = [["chosen", row.chosen], ["rejected", row.rejected]];
  if (swapped) answers.reverse();
  const prompt = element("div", "prompt");
  for (const [role, text] of row.prompt) {
    const turn = element("div", "", ...withHits([[text, 0]], searched));
    turn.dir = "auto";
    if (row.prompt.length > 1) turn.prepend(element("span", "role", role));
    prompt.append(turn);
  }
  const names = blind ? [["A is better", swapped ? "bad" : "good"], ["B is better", swapped ? "good" : "bad"], ["Tie", "tie"]]
    : [["Good", "good"], ["Bad", "bad"], ["Tie", "tie"]];
  const choices = element("div", "votes");
  names.forEach(([name, vote], place) => {
    const button = element("button", "", name);
    button.title = `key ${place + 1}`;
    button.dataset.vote = vote;
    button.setAttribute("aria-pressed", String(votes.get(row.id) === vote));
    button.addEventListener("click", () => castVote(row, vote, swapped));
    choices.append(button);
  });
  const head = element("div", "head", link(row), element("span", "id", ...withHits([[row.id, 0]], searched)));
  if (!blind) head.append(...badges(row));
  head.append(choices);
  const pictures = element("div", "pictures", ...row.images.map((image, place) => figure(row, image, place)));
  const made = element("article", "card", head, element("div", "body", pictures, prompt,
    ...answers.map(([side, parts], place) => element("section", blind ? "answer" : `answer ${side}`,
      element("h2", "", blind ? "AB"[place] : side), marked(parts, searched),
      ...(!blind && row.claims[side] ? [claimed(row.claims[side], searched)] : [])))));
  made.dataset.id = row.id;
  return made;
}
