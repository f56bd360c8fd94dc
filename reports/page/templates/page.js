"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, from = document) => Array.from(from.querySelectorAll(selector));
  root.classList.add("js");

  // theme: the system's until the reader chooses
  const toggle = document.getElementById("theme");
  const remembered = (() => { try { return localStorage.getItem("uadbench-theme"); } catch { return null; } })();
  const isDark = () => root.dataset.theme
    ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const label = () => {
    toggle.textContent = isDark() ? "Light" : "Dark";
    toggle.setAttribute("aria-pressed", String(isDark()));
  };
  if (remembered === "dark" || remembered === "light") root.dataset.theme = remembered;
  toggle.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("uadbench-theme", root.dataset.theme); } catch { /* a file without storage */ }
    label();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
  label();

  // sorting: each body by itself, so floors stay below; empty values last either way
  const compare = (column, direction) => (a, b) => {
    const x = a.cells[column].dataset.sort, y = b.cells[column].dataset.sort;
    if (x === "" || y === "") return (x === "") - (y === "");
    const numeric = Number(x) - Number(y);
    return direction * (Number.isNaN(numeric) ? x.localeCompare(y, "en") : numeric);
  };
  for (const table of all("table.sortable")) {
    const heads = all("thead th", table);
    heads.forEach((head, column) => {
      const button = head.querySelector("button");
      if (!button) return;
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const first = head.dataset.first || "descending";
        const other = first === "descending" ? "ascending" : "descending";
        const next = now === first ? other : first;
        heads.forEach((one) => one.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", next);
        for (const body of table.tBodies) {
          const rows = Array.from(body.rows).filter((row) => row.dataset.kind);
          rows.sort(compare(column, next === "ascending" ? 1 : -1)).forEach((row) => body.append(row));
        }
      });
    });
  }

  // filters
  const words = document.getElementById("filter-text"), kind = document.getElementById("filter-kind");
  const engine = document.getElementById("filter-engine"), data = document.getElementById("filter-data");
  const status = document.getElementById("filter-count");
  const filter = () => {
    const needles = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0, total = 0;
    for (const section of all("section.dataset")) {
      const wanted = !data || !data.value || data.value === section.id;
      section.hidden = !wanted;
      for (const row of all("table.results tbody tr[data-kind]", section)) {
        const text = row.dataset.text.toLowerCase();
        const hit = wanted && needles.every((needle) => text.includes(needle))
          && (!kind.value || kind.value === row.dataset.kind)
          && (!engine.value || engine.value === row.dataset.engine || row.dataset.kind === "floor");
        row.hidden = !hit;
        total += 1;
        shown += hit;
      }
      for (const divider of all("table.results tr.divider", section)) {
        divider.hidden = !all("tr[data-kind]", divider.parentNode).some((row) => !row.hidden);
      }
    }
    status.textContent = shown === total ? `${total} rows` : `${shown} of ${total} rows`;
  };
  words.addEventListener("input", filter);
  for (const list of [kind, engine, data]) if (list) list.addEventListener("change", filter);
  filter();
})();
