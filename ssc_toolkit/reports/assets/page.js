"use strict";
// A click on a table header sorts the rows by the number at the start of each cell, or else by the text of the cell.

function sortKey(cell) {
  const text = cell.textContent.trim().replace("\u2212", "-");
  const number = text.match(/^[+-]?(\d+\.?\d*|\.\d+)/);
  return { text, number: number ? Number(number[0]) : NaN, missing: text === "" || text === "\u2013" };
}

function compareKeys(a, b) {
  if (!Number.isNaN(a.number) && !Number.isNaN(b.number)) return a.number - b.number;
  return a.text.localeCompare(b.text, undefined, { numeric: true });
}

function sortRows(table, column, direction) {
  const rows = [...table.tBodies[0].rows].map((row) => ({ row, key: sortKey(row.cells[column]) }));
  rows.sort((a, b) => {
    if (a.key.missing || b.key.missing) return a.key.missing - b.key.missing; // always last
    return direction * compareKeys(a.key, b.key);
  });
  table.tBodies[0].append(...rows.map(({ row }) => row));
}

for (const table of document.querySelectorAll("table")) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const ascending = header.getAttribute("aria-sort") !== "ascending";
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      sortRows(table, column, ascending ? 1 : -1);
    });
  });
}
