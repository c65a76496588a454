"use strict";
/* The cases of each table: a list to search, and one case opened from it or by its link (#case=dataset/model/id). */

(() => {
  const { el } = clmeeval.texts;
  const PER_PAGE = 15;
  const DIGITS = "01234567abcd"; // see gathered.OUTCOMES; letters are cases without neighbours
  const [TARGET, REPHRASED, KEPT] = [1, 2, 4];
  const ABSENT = "-";
  const FAILED = "x";

  const bits = (character) => {
    const digit = DIGITS.indexOf(character);
    return digit >= 8 ? digit - 8 + KEPT : digit;
  };
  const has = (bit) => (character) => DIGITS.includes(character) && Boolean(bits(character) & bit);
  const lacks = (bit) => (character) => DIGITS.includes(character) && !(bits(character) & bit);
  const OUTCOMES = {
    all: ["All cases", null],
    differ: ["Methods differ", null],
    hit: ["Target reached", has(TARGET)],
    missed: ["Target missed", lacks(TARGET)],
    rephrased: ["Rephrased: target reached", has(REPHRASED)],
    changed: ["A neighbour changed", lacks(KEPT)],
    failed: ["Failed", (character) => character === FAILED],
  };

  class Explorer {
    constructor(table, place) {
      this.table = table;
      this.place = place;
      this.rows = [];
      this.found = [];
      this.page = 0;
      this.build();
    }

    build() {
      const id = (name) => `${this.table.key}-${name}`;
      this.search = el("input", { type: "search", id: id("search"), placeholder: "id, or words of the prompt", autocomplete: "off", spellcheck: "false" });
      this.outcome = el("select", { id: id("outcome") }, ...Object.entries(OUTCOMES).map(([value, [title]]) => el("option", { value }, title)));
      this.by = el(
        "select",
        { id: id("by") },
        el("option", { value: "" }, "any method"),
        ...this.table.runs.map(([method, detail], number) => el("option", { value: number }, detail ? `${method} (${detail})` : method)),
      );
      this.count = el("span", { class: "count", role: "status" });
      this.body = el("tbody");
      this.view = el("article", { class: "case", hidden: true, tabindex: -1 });
      const field = (title, input) => el("label", {}, el("span", {}, title), input);
      this.previous = this.button("← Previous", () => this.turn(-1));
      this.next = this.button("Next →", () => this.turn(1));
      const headings = ["Case", "Prompt", "Target reached", "Also rephrased", "Neighbours kept", "Failed"];
      const head = el("thead", {}, el("tr", {}, ...headings.map((title, at) => el("th", { scope: "col", class: at < 2 ? "text" : null }, title))));
      const list = el("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": `Cases of ${this.table.dataset}, ${this.table.model}` }, el("table", { class: "cases" }, head, this.body));
      this.place.replaceChildren(
        this.view,
        el("div", { class: "tools" }, field("Find", this.search), field("Outcome", this.outcome), field("By", this.by), this.count),
        list,
        el("div", { class: "tools paging" }, this.previous, this.next),
      );
      this.search.addEventListener("input", () => this.filter());
      this.outcome.addEventListener("change", () => this.filter());
      this.by.addEventListener("change", () => this.filter());
    }

    button(title, action) {
      const made = el("button", { type: "button", class: "plain" }, title);
      made.addEventListener("click", action);
      return made;
    }

    /** Load the index, once; the list shows what has come so far. */
    ready() {
      this.loading ??= this.load();
      return this.loading;
    }

    async load() {
      this.count.textContent = "loading …";
      try {
        for (let number = 0; number < this.table.index; number += 1) {
          const piece = await clmeeval.load(`${this.table.key}-index-${number}`);
          for (const row of piece) this.rows.push({ row, lower: `${row[0]}\n${row[1]}`.toLowerCase() });
          this.filter();
        }
      } catch (error) {
        this.loading = undefined;
        this.rows = [];
        this.count.textContent = error.message;
      }
    }

    filter() {
      const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const test = this.test();
      this.found = [];
      this.rows.forEach(({ row, lower }, at) => {
        if (words.every((word) => lower.includes(word)) && test(row[2])) this.found.push(at);
      });
      this.page = 0;
      this.show();
    }

    test() {
      const wanted = this.outcome.value;
      this.by.disabled = wanted === "all" || wanted === "differ";
      if (wanted === "all") return () => true;
      if (wanted === "differ") return (outcomes) => new Set(outcomes.replaceAll(ABSENT, "")).size > 1;
      const [, fits] = OUTCOMES[wanted];
      if (this.by.value === "") return (outcomes) => [...outcomes].some(fits);
      return (outcomes) => fits(outcomes[Number(this.by.value)]);
    }

    show() {
      const first = this.page * PER_PAGE;
      const shown = this.found.slice(first, first + PER_PAGE);
      this.body.replaceChildren(...shown.map((at) => this.line(this.rows[at].row)));
      const total = this.found.length.toLocaleString("en");
      this.count.textContent = shown.length ? `${(first + 1).toLocaleString("en")}–${(first + shown.length).toLocaleString("en")} of ${total}` : "no case fits";
      this.previous.disabled = this.page === 0;
      this.next.disabled = first + PER_PAGE >= this.found.length;
    }

    line([id, title, outcomes]) {
      const reached = [...outcomes].filter((character) => character !== ABSENT);
      const count = (test) => el("td", {}, `${reached.filter(test).length}/${reached.length}`);
      const failed = reached.filter((character) => character === FAILED).length;
      return el(
        "tr",
        {},
        el("th", { scope: "row" }, el("a", { href: this.link(id) }, id)),
        el("td", { class: "text", dir: "ltr" }, title),
        count(has(TARGET)),
        count(has(REPHRASED)),
        count((character) => has(KEPT)(character)),
        el("td", { class: failed ? "bad" : null }, String(failed)),
      );
    }

    link(id) {
      const { dataset, model, key } = this.table;
      return clmeeval.state.link({ case: `${dataset}/${model}/${id}`, table: ambiguous(this.table) ? key : null });
    }

    turn(pages) {
      this.page += pages;
      this.show();
      this.place.querySelector("table").scrollIntoView({ block: "nearest" });
    }

    /** Open a case by its id. */
    async open(id) {
      await this.ready();
      if (id !== this.wanted) return;
      const at = this.rows.findIndex(({ row }) => row[0] === id);
      if (at < 0) return this.fill(id, [el("p", { class: "note" }, "There is no such case in this table.")]);
      const piece = this.table.starts.findLastIndex((start) => start <= at);
      try {
        const cases = await clmeeval.load(`${this.table.key}-cases-${piece}`);
        if (id !== this.wanted) return;
        const found = cases[at - this.table.starts[piece]];
        const outcomes = [...this.rows[at].row[2]].map(bits);
        this.fill(id, clmeeval.caseView(this.table, found, outcomes), at);
      } catch (error) {
        this.fill(id, [el("p", { class: "note" }, error.message)]);
      }
    }

    fill(id, content, at = -1) {
      const heading = el("h4", { class: "id", tabindex: -1 }, el("span", { class: "muted" }, "Case "), id);
      const place = this.found.indexOf(at);
      const step = (title, to) => {
        const made = this.button(title, () => this.go(this.rows[to].row[0]));
        made.disabled = to === undefined;
        return made;
      };
      const near = place < 0 ? [] : [step("← Case", this.found[place - 1]), step("Case →", this.found[place + 1])];
      const link = el("a", { href: this.link(id), class: "plain" }, "Link");
      const close = this.button("Close", () => this.go(null));
      this.view.replaceChildren(el("div", { class: "tools" }, heading, ...near, link, close), ...content);
      this.view.setAttribute("aria-label", `Case ${id}`);
      this.view.hidden = false;
      this.view.scrollIntoView({ block: "start" });
      heading.focus({ preventScroll: true });
    }

    go(id) {
      if (id === null) clmeeval.state.set({ case: null, table: null }, true);
      else {
        history.pushState(null, "", this.link(id));
        apply(clmeeval.state.read());
      }
    }

    close() {
      const focused = this.view.contains(document.activeElement);
      this.wanted = null;
      this.view.hidden = true;
      this.view.replaceChildren();
      if (focused) this.search.focus();
    }
  }

  const explorers = [];

  const ambiguous = (table) => explorers.filter((other) => other.table.dataset === table.dataset && other.table.model === table.model).length > 1;

  const prefix = ({ table }) => `${table.dataset}/${table.model}/`;

  /* The explorer that a link means: that of its table, or the first of its data set and model. */
  const meant = (state) => {
    const fits = explorers.filter((explorer) => state.get("case").startsWith(prefix(explorer)));
    return fits.find((explorer) => explorer.table.key === state.get("table")) || fits[0];
  };

  const apply = (state) => {
    const wanted = state.get("case") ? meant(state) : undefined;
    for (const explorer of explorers) if (explorer !== wanted && explorer.wanted) explorer.close();
    const missing = document.querySelector("#missing");
    missing.hidden = !state.get("case") || wanted !== undefined;
    if (wanted === undefined) return;
    const id = state.get("case").slice(prefix(wanted).length);
    if (wanted.wanted === id) return;
    wanted.wanted = id;
    wanted.open(id);
  };

  clmeeval.load("tables").then((tables) => {
    const seen = new IntersectionObserver(
      (entries) => {
        for (const entry of entries.filter((found) => found.isIntersecting)) {
          seen.unobserve(entry.target);
          explorers.find((explorer) => explorer.place === entry.target).ready();
        }
      },
      { rootMargin: "600px" },
    );
    for (const table of tables) {
      const place = document.getElementById(`${table.key}-cases`);
      explorers.push(new Explorer(table, place));
      seen.observe(place);
    }
    clmeeval.state.listen(apply);
    apply(clmeeval.state.read());
  });

  clmeeval.state.start();
})();
