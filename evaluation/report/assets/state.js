"use strict";
/* The state of the page, kept in its address behind "#", so that a copied link shows the same. */

var clmeeval = window.clmeeval || {};

(() => {
  const listeners = [];

  const decoded = (text) => {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  };

  const encoded = (text) => encodeURIComponent(text).replaceAll("%2F", "/").replaceAll("%3A", ":");

  const read = () => {
    const found = new Map();
    for (const part of location.hash.slice(1).split("&")) {
      const at = part.indexOf("=");
      if (at > 0) found.set(decoded(part.slice(0, at)), decoded(part.slice(at + 1)));
    }
    return found;
  };

  const withChanges = (changes) => {
    const found = read();
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === "") found.delete(name);
      else found.set(name, value);
    }
    return "#" + [...found].map(([name, value]) => `${encoded(name)}=${encoded(value)}`).join("&");
  };

  const changed = () => {
    const state = read();
    for (const listener of listeners) listener(state);
  };

  clmeeval.state = {
    read,
    /** The address behind "#" with some values changed; null removes one. */
    link: withChanges,
    /** Change some values; "push" makes a step that the browser's back button takes back. */
    set(changes, push = false) {
      history[push ? "pushState" : "replaceState"](null, "", withChanges(changes));
      changed();
    },
    listen(listener) {
      listeners.push(listener);
    },
    start: changed,
  };

  window.addEventListener("hashchange", changed);
  window.addEventListener("popstate", changed);
})();
