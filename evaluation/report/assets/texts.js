"use strict";
/* Elements with text in them. Whatever comes out of a result file becomes a text node, never markup. */

(() => {
  const LONGEST_COMPARED = 400; // tokens: the comparison takes quadratic time
  const LEAST_ALIKE = 0.3; // below this share of common tokens an interleaved comparison is unreadable

  /** An element with attributes ("class", "aria-label", ...) and children: elements, or texts. */
  const el = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === true) made.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, String(value));
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  };

  /** A text of the data, and how many of its characters are not shown. */
  const clipped = (value) => (Array.isArray(value) ? { text: value[0], hidden: value[1] } : { text: value, hidden: 0 });

  const same = (one, other) => {
    const [a, b] = [clipped(one), clipped(other)];
    return a.text.trim() === b.text.trim() && a.hidden === b.hidden;
  };

  const note = (hidden) =>
    hidden ? el("span", { class: "cut" }, `… ${hidden.toLocaleString("en")} more characters are not shown`) : null;

  const tokens = (text) => text.match(/[\p{L}\p{N}_]+|\s+|[^\p{L}\p{N}_\s]/gu) || [];

  const repeated = (kind, list) => list.map((token) => [kind, token]);

  /* Lengths of the longest common subsequences of all tails of a and b, in rows of b.length + 1. */
  const commonTails = (a, b) => {
    const width = b.length + 1;
    const lengths = new Uint16Array((a.length + 1) * width);
    for (let i = a.length - 1; i >= 0; i -= 1) {
      for (let j = b.length - 1; j >= 0; j -= 1) {
        lengths[i * width + j] =
          a[i] === b[j]
            ? lengths[(i + 1) * width + j + 1] + 1
            : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
      }
    }
    return lengths;
  };

  const interleaved = (answer, reference, lengths) => {
    const width = answer.length + 1;
    const pieces = [];
    let [i, j] = [0, 0];
    while (i < reference.length && j < answer.length) {
      if (reference[i] === answer[j]) {
        pieces.push(["same", answer[j]]);
        i += 1;
        j += 1;
      } else if (lengths[(i + 1) * width + j] >= lengths[i * width + j + 1]) {
        pieces.push(["missing", reference[i]]);
        i += 1;
      } else {
        pieces.push(["added", answer[j]]);
        j += 1;
      }
    }
    return [...pieces, ...repeated("missing", reference.slice(i)), ...repeated("added", answer.slice(j))];
  };

  const joined = (pieces) => {
    const found = [];
    for (const [kind, text] of pieces) {
      const last = found[found.length - 1];
      if (last && last[0] === kind) last[1] += text;
      else found.push([kind, text]);
    }
    return found;
  };

  /** The answer in pieces [kind, text]: "same" as in the reference, "added" to it, or "missing" from the answer. */
  const compare = (answerText, referenceText) => {
    const [answer, reference] = [tokens(answerText.trim()), tokens(referenceText.trim())];
    const whole = answer.length ? [["added", answer.join("")]] : [];
    if (Math.max(answer.length, reference.length) > LONGEST_COMPARED) return whole;
    const pieces = interleaved(answer, reference, commonTails(reference, answer));
    const words = pieces.filter(([, token]) => token.trim() !== "");
    const alike = words.filter(([kind]) => kind === "same").length;
    return 2 * alike < LEAST_ALIKE * (words.length + alike) ? whole : joined(pieces);
  };

  const box = (...children) => el("pre", { dir: "ltr", tabindex: 0 }, ...children);

  const plain = (value) => {
    const { text, hidden } = clipped(value);
    return box(text === "" ? el("span", { class: "empty" }, "(empty)") : text, note(hidden));
  };

  const differing = (value, reference) => {
    const { text, hidden } = clipped(value);
    if (text.trim() === "") return plain(value);
    const tags = { added: "ins", missing: "del" };
    const pieces = compare(text, clipped(reference).text);
    return box(...pieces.map(([kind, part]) => (tags[kind] ? el(tags[kind], {}, part) : part)), note(hidden));
  };

  clmeeval.texts = { el, same, compare, plain, differing };
})();
