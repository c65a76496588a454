"use strict";
/* The page's data, in scripts that are loaded when they are needed: a page opened from disk may not fetch JSON. */

(() => {
  const folder = new URL("../data/", document.currentScript.src);
  const pieces = new Map();

  const piece = (name) => {
    if (!pieces.has(name)) {
      const made = {};
      made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
      pieces.set(name, made);
    }
    return pieces.get(name);
  };

  /** Called by each script of the data. */
  clmeeval.put = (name, value) => piece(name).resolve(value);

  /** A piece of the data by its name. */
  clmeeval.load = (name) => {
    const found = piece(name);
    if (!found.asked) {
      found.asked = true;
      const script = document.createElement("script");
      script.src = new URL(`${encodeURIComponent(name)}.js`, folder).href;
      script.onerror = () => {
        pieces.delete(name); // so that it is asked for again
        found.reject(new Error(`${name}.js could not be loaded: is leaderboard_files beside the page?`));
      };
      script.onload = () => script.remove();
      document.head.append(script);
    }
    return found.promise;
  };
})();
