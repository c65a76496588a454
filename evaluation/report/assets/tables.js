"use strict";
/* Sorting and filtering of the tables that the page came with. */

(() => {
  const { el } = clmeeval.texts;
  const FILTERS = [
    ["dataset", "Data set"],
    ["model", "Model"],
    ["family", "Method family"],
    ["protocol", "Protocol"],
  ];
  const sections = [...document.querySelectorAll("section[data-table]")];
  const tables = [...document.querySelectorAll("table.results")];
  const firstOrder = new Map(tables.map((table) => [table, [...table.tBodies[0].rows]]));

  const sortOf = (state) => {
    const [column, direction] = (state.get("sort") || "").split(":");
    return { column, direction: direction === "ascending" ? "ascending" : "descending" };
  };

  /* A first press sorts with the best on top, a second the other way round, a third goes back to the first order. */
  const pressed = (header) => {
    const { column, direction } = sortOf(clmeeval.state.read());
    const first = header.dataset.better === "lower" ? "ascending" : "descending";
    const second = first === "ascending" ? "descending" : "ascending";
    let next = `${header.dataset.column}:${first}`;
    if (column === header.dataset.column) next = direction === first ? `${column}:${second}` : null;
    clmeeval.state.set({ sort: next });
  };

  for (const header of document.querySelectorAll("table.results th[data-column]")) {
    const arrow = el("span", { class: "sorted", "aria-hidden": "true" });
    const button = el("button", { type: "button", class: "sort" }, ...header.childNodes, arrow);
    button.addEventListener("click", () => pressed(header));
    header.replaceChildren(button);
  }

  const valueOf = (row, column) => {
    const cell = [...row.cells].find((candidate) => candidate.dataset.column === column);
    return cell === undefined ? "" : cell.dataset.value || "";
  };

  const compared = (column, direction) => (one, other) => {
    const floors = Number(one.dataset.family === "floor") - Number(other.dataset.family === "floor");
    const [a, b] = [valueOf(one, column), valueOf(other, column)];
    const missing = Number(a === "") - Number(b === "");
    if (floors || missing) return floors || missing;
    const order = column === "method" ? a.localeCompare(b, "en", { numeric: true }) : Number(a) - Number(b);
    return direction === "ascending" ? order : -order;
  };

  const sort = (state) => {
    const { column, direction } = sortOf(state);
    for (const table of tables) {
      const headers = [...table.querySelectorAll("th[data-column]")];
      const sorted = headers.find((header) => header.dataset.column === column);
      for (const header of headers) {
        if (header === sorted) header.setAttribute("aria-sort", direction);
        else header.removeAttribute("aria-sort");
      }
      const rows = [...firstOrder.get(table)];
      table.tBodies[0].append(...(sorted ? rows.sort(compared(column, direction)) : rows));
    }
  };

  const matches = (wanted, found) => !wanted || wanted === found;

  const filter = (state) => {
    for (const row of tables.flatMap((table) => firstOrder.get(table))) {
      row.hidden = !matches(state.get("family"), row.dataset.family);
    }
    for (const section of sections) {
      const fits = ["dataset", "model", "protocol"].every((name) => matches(state.get(name), section.dataset[name]));
      section.hidden = !fits || [...section.querySelectorAll("table.results tbody tr")].every((row) => row.hidden);
      const link = document.querySelector(`nav a[href="#${CSS.escape(section.id)}"]`);
      if (link) link.hidden = section.hidden;
    }
    told(state);
  };

  const status = document.querySelector("#shown");

  const told = (state) => {
    const shown = sections.filter((section) => !section.hidden);
    const rows = shown.flatMap((section) => [...section.querySelectorAll("tbody tr[data-run]")]);
    const runs = rows.filter((row) => !row.hidden).length;
    const filtered = FILTERS.some(([name]) => state.get(name));
    const counts = `${shown.length} of ${sections.length} tables, ${runs} runs`;
    status.textContent = shown.length ? (filtered ? counts : "") : "No table fits. Choose less, or clear the filters.";
  };

  const valuesOf = (name) => {
    const holders = name === "family" ? document.querySelectorAll("tr[data-run]") : sections;
    return [...new Set([...holders].map((holder) => holder.dataset[name]))].sort();
  };

  const bar = document.querySelector("#filters");
  const selects = [];
  for (const [name, title] of FILTERS) {
    const values = valuesOf(name);
    if (values.length < 2) continue;
    const options = values.map((value) => el("option", { value }, value));
    const select = el("select", { id: `filter-${name}` }, el("option", { value: "" }, "all"), ...options);
    select.addEventListener("change", () => clmeeval.state.set({ [name]: select.value || null }));
    bar.insertBefore(el("label", {}, el("span", {}, title), select), status);
    selects.push([name, select]);
  }
  const clear = el("button", { type: "button", class: "plain" }, "Clear");
  clear.addEventListener("click", () =>
    clmeeval.state.set(Object.fromEntries([...FILTERS.map(([name]) => [name, null]), ["sort", null]])),
  );
  bar.insertBefore(clear, status);
  bar.hidden = selects.length === 0;

  for (const link of document.querySelectorAll("nav a[href^='#']")) {
    link.addEventListener("click", (event) => {
      event.preventDefault(); // the address keeps the filters
      const section = document.getElementById(link.getAttribute("href").slice(1));
      section.scrollIntoView();
      section.querySelector("h2").focus({ preventScroll: true });
    });
  }

  clmeeval.state.listen((state) => {
    for (const [name, select] of selects) {
      const known = [...select.options].some((option) => option.value === state.get(name));
      select.value = known ? state.get(name) : "";
    }
    clear.hidden = !state.get("sort") && !FILTERS.some(([name]) => state.get(name));
    sort(state);
    filter(state);
  });
})();
