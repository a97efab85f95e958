"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const tables = all("table.sortable");

// Sorting: text before the first number, then the number; rows without a value come last.
function key(cell) {
  const text = cell.textContent.trim().replaceAll("−", "-").replace(/^(±|≥ |[?✓✗] )/, "");
  const found = text.match(/[-+]?(\d*\.)?\d+(e[-+]?\d+)?/);
  const empty = text === "" || text === "–";
  return { empty, words: found ? text.slice(0, found.index) : text, number: found ? +found[0] : 0 };
}

function compare(a, b) {
  return a.words.localeCompare(b.words) || a.number - b.number;
}

function sort(table, head, order) {
  const body = table.tBodies[0];
  const rows = table.rowsAsWritten ??= [...body.rows];
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  if (!order) return body.append(...rows);
  head.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const keyed = rows.map((row) => [key(row.cells[head.cellIndex]), row]);
  keyed.sort(([a], [b]) => a.empty - b.empty || sign * compare(a, b));
  body.append(...keyed.map(([, row]) => row));
}

const NEXT = { ascending: "descending", descending: "" };
for (const table of tables) {
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      sort(table, head, NEXT[head.getAttribute("aria-sort")] ?? "ascending");
    });
  }
}

// Filters: they act on the columns that a table has, and on the figures of a dataset or experiment.
const filters = document.querySelector("#filters");

function filter() {
  const chosen = all("select", filters).map((s) => [s.dataset.filter, s.value]).filter(([, v]) => v);
  let shown = 0;
  for (const table of tables) {
    const heads = [...table.tHead.rows[0].cells];
    const tests = chosen.flatMap(([name, value]) => {
      const column = heads.findIndex((head) => head.dataset.key === name);
      if (column >= 0) return [(row) => row.cells[column].textContent === value];
      const same = table.getAttribute(`data-all-${name}`);
      return same === null || same === value ? [] : [() => false];
    });
    const rows = [...table.tBodies[0].rows];
    for (const row of rows) row.hidden = !tests.every((test) => test(row));
    const left = rows.filter((row) => !row.hidden).length;
    shown += left;
    const count = table.closest(".sheet")?.querySelector(".count");
    if (count) count.textContent = left === rows.length ? left : `${left} of ${rows.length}`;
  }
  for (const part of all("[data-dataset], [data-experiment]", document.querySelector("main"))) {
    part.hidden = chosen.some(([name, value]) => (part.dataset[name] ?? value) !== value);
    if (part.tagName === "DETAILS" && chosen.some(([name]) => name === "dataset")) part.open = true;
  }
  filters.querySelector("output").textContent = chosen.length ? `(${shown} rows)` : "";
}

if (filters) {
  filters.hidden = false;
  filters.addEventListener("change", filter);
  filters.addEventListener("reset", () => setTimeout(filter));
}

// Folded parts: the target of a link is unfolded, and everything for printing.
function unfold() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let part = target; part; part = part.parentElement?.closest("details")) {
    if (part.tagName === "DETAILS") part.open = true;
  }
  target?.scrollIntoView();
}
addEventListener("hashchange", unfold);
if (location.hash) unfold();

let folded = [];
addEventListener("beforeprint", () => {
  folded = all("details:not([open])");
  for (const part of folded) part.open = true;
});
addEventListener("afterprint", () => {
  for (const part of folded) part.open = false;
});

// Contents: folded on a narrow screen.
const contents = document.querySelector("#contents");
const narrow = matchMedia("(max-width: 74.99rem)");
contents.open = !narrow.matches;
narrow.addEventListener("change", () => (contents.open = !narrow.matches));
contents.addEventListener("click", (event) => {
  if (narrow.matches && event.target.closest("a")) contents.open = false;
});

const theme = document.querySelector("#theme");
theme.hidden = false;
theme.addEventListener("click", () => {
  const root = document.documentElement.style;
  const dark = root.colorScheme
    ? root.colorScheme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.colorScheme = dark ? "light" : "dark";
});
