"use strict";
/* One case: what was asked, and what every method of its table answered, side by side. */

(() => {
  const { el, same, plain, differing } = clmeeval.texts;

  const label = (text, verdict = null) => el("p", { class: "label" }, text, verdict);

  const verdict = (good, yes, no) =>
    el(
      "span",
      { class: `verdict ${good ? "good" : "bad"}` },
      el("b", { "aria-hidden": "true" }, good ? "✓" : "✗"),
      ` ${good ? yes : no}`,
    );

  const dot = (colour) => {
    const made = el("i", { class: "dot" });
    made.style.background = colour;
    return made;
  };

  const asked = ([, question, before]) => {
    const neighbours = question.n.map((prompt, number) =>
      el(
        "div",
        { class: "neighbour" },
        label(question.n.length > 1 ? `Neighbour ${number + 1}` : "A neighbour’s prompt"),
        plain(prompt),
        before ? label("Its answer before the edit, to be kept") : null,
        before && before.n[number] !== undefined ? plain(before.n[number]) : null,
      ),
    );
    return el(
      "div",
      { class: "three asked" },
      el(
        "div",
        {},
        el("h5", {}, "Effectiveness"),
        label("Prompt"),
        plain(question.p),
        label("Target"),
        plain(question.t),
        before ? label("Answer before the edit") : null,
        before ? plain(before.a) : null,
      ),
      el(
        "div",
        {},
        el("h5", {}, "Generalisation"),
        label("Rephrased prompt, same target"),
        plain(question.r),
        before ? label("Answer before the edit") : null,
        before ? plain(before.r) : null,
      ),
      neighbours.length ? el("div", {}, el("h5", {}, "Specificity"), ...neighbours, more(question.more)) : null,
    );
  };

  const more = (count) => (count ? el("p", { class: "note" }, `and ${count} more neighbours`) : null);

  /* An answer against the target: marked where it differs, unless it is the unedited answer still. */
  const answered = (title, value, target, old, hit) => {
    const unmoved = !hit && old !== undefined && same(value, old);
    const said = verdict(hit, "the target", unmoved ? "as before" : "not the target");
    return el("div", {}, label(title, said), unmoved || hit ? plain(value) : differing(value, target));
  };

  const neighbour = (value, number, before, many) => {
    const title = many ? `To neighbour ${number + 1}` : "To the neighbour";
    const kept = value === 0;
    const shown = kept ? null : differing(value, before.n[number] ?? "");
    return el("div", {}, label(title, verdict(kept, "unchanged", "changed")), shown);
  };

  const rightAfter = (answer, target) =>
    answer.h === undefined
      ? null
      : el("div", {}, label("Right after its own edit", verdict(same(answer.h, target), "the target", "not the target")), differing(answer.h, target));

  const heading = ([method, detail, colour]) =>
    el("h4", {}, dot(colour), method, detail ? el("small", {}, ` ${detail}`) : null);

  /* What one method answered. The outcome's bits: target, rephrased target, neighbours unchanged. */
  const method = (run, answer, outcome, question, shared) => {
    if (!answer) return el("div", { class: "method" }, heading(run), el("p", { class: "note" }, "not reached yet"));
    if (answer.x !== undefined) {
      return el("div", { class: "method" }, heading(run), label("The case failed"), el("div", { class: "bad" }, plain(answer.x)));
    }
    const before = answer.b || shared || { n: [] };
    const many = answer.n.length > 1;
    const group = answer.k ? `edit ${answer.k[1] + 1} of ${answer.k[2]} in group ${answer.k[0] + 1}` : null;
    return el(
      "div",
      { class: "method" },
      heading(run),
      group ? el("p", { class: "note" }, group) : null,
      answer.b ? label("Answer before the edit, other than above") : null,
      answer.b ? plain(answer.b.a) : null,
      el(
        "div",
        { class: "three" },
        el(
          "div",
          {},
          rightAfter(answer, question.t),
          answered("Answer after the edit", answer.a, question.t, before.a, Boolean(outcome & 1)),
        ),
        answered("To the rephrased prompt", answer.r, question.t, before.r, Boolean(outcome & 2)),
        answer.n.length
          ? el("div", {}, ...answer.n.map((value, number) => neighbour(value, number, before, many)))
          : null,
      ),
    );
  };

  /** The content of a case; ``outcomes`` as numbers, one per run. */
  clmeeval.caseView = (table, found, outcomes) => [
    asked(found),
    ...table.runs.map((run, number) => method(run, found[3][number], outcomes[number], found[1], found[2])),
  ];
})();
