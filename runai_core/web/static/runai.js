// What every page needs of the browser: theme, menu, copy buttons, errors of partial updates.
"use strict";

(() => {
  const root = document.documentElement;

  const isDark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;

  const say = (text, kind) => {
    const line = document.createElement("p");
    line.className = kind;
    line.textContent = text; // text, never markup
    document.getElementById("notices")?.replaceChildren(line);
  };

  const copy = async (button) => {
    const source = document.getElementById(button.dataset.copy);
    const text = source ? source.textContent : button.dataset.text;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      const selection = getSelection();
      if (source) selection.selectAllChildren(source);
      button.textContent = "Selected: press Ctrl+C";
    }
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.classList.contains("theme-button")) {
      root.dataset.theme = isDark() ? "light" : "dark";
      document.cookie = `runai_theme=${root.dataset.theme}; path=/; max-age=31536000; SameSite=Strict`;
      document.dispatchEvent(new Event("runai:theme"));
    } else if (button?.classList.contains("menu-button")) {
      const open = document.getElementById("menu").classList.toggle("open");
      button.setAttribute("aria-expanded", String(open));
    } else if (button && (button.dataset.copy || button.dataset.text)) {
      copy(button);
    }
    for (const drop of document.querySelectorAll("details.drop[open]")) {
      if (!drop.contains(event.target)) drop.open = false;
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const drop of document.querySelectorAll("details.drop[open]")) {
      drop.open = false;
      drop.querySelector("summary").focus();
    }
  });

  // htmx swaps nothing for an error; the person must still hear of it.
  document.addEventListener("htmx:responseError", (event) => {
    const part = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
    say(part.body.textContent.trim().slice(0, 500) || "The server answered with an error.", "problem");
  });
  document.addEventListener("htmx:sendError", () => say("The server cannot be reached; this page may be old.", "problem"));

  // On a phone a row of a table is a card (runai.css): each cell needs the name of its column.
  const label = () => {
    for (const table of document.querySelectorAll(".scroll > table")) {
      const names = [...table.querySelectorAll("thead th")].map((each) => each.textContent.replace(/[▲▼↑↓]/g, "").trim());
      for (const row of table.tBodies[0].rows) {
        const cells = [...row.cells];
        const first = cells.findIndex((each) => !each.classList.contains("pick"));
        cells.forEach((cell, at) => {
          cell.dataset.label = names[at] ?? "";
          cell.classList.toggle("title", at === first);
          cell.classList.toggle("wide", Boolean(cell.querySelector(".why, .quota, details, pre")) || cell.classList.contains("wrap"));
          cell.classList.toggle("none", !cell.textContent.trim() && !cell.querySelector("input, svg"));
        });
      }
      table.parentElement.classList.add("cards-on-phones");
    }
  };
  // While it settles, htmx gives what came anew the attributes of before, and then its own: what is marked before is lost.
  for (const name of ["htmx:afterSwap", "htmx:afterSettle"]) document.addEventListener(name, label);
  label();

  // A form with much in it is sent from within the page: an answer that is no form leaves it as it is.
  const holds = (event) => (event.detail.requestConfig?.elt ?? event.detail.elt)?.matches?.("form[data-keeps]");
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (!holds(event) || event.detail.xhr.status < 400) return;
    if (!event.detail.serverResponse.includes("data-keeps")) return;
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  });
  document.addEventListener("htmx:afterSettle", () => document.querySelector("form[data-keeps] [role=alert]")?.scrollIntoView());
  document.addEventListener("htmx:beforeOnLoad", (event) => {
    if (!holds(event) || event.detail.xhr.status !== 401) return;
    event.preventDefault();
    say("Your session has ended. Nothing you typed is lost: sign in in another tab, then send this form again.", "problem");
  });
  document.addEventListener("htmx:responseError", async (event) => {
    if (!holds(event) || event.detail.xhr.status !== 403) return;
    // The session is another one than when the form was opened, for example after signing in again: take its token.
    const form = event.detail.elt;
    const fresh = new DOMParser().parseFromString(await (await fetch("/settings")).text(), "text/html");
    const token = fresh.querySelector("input[name=csrf_token]")?.value;
    const mine = form.querySelector("input[name=csrf_token]");
    if (!token || token === mine.value) return;
    for (const each of document.querySelectorAll("input[name=csrf_token]")) each.value = token;
    document.body.setAttribute("hx-headers", JSON.stringify({ "X-CSRF-Token": token }));
    say("You have signed in anew since you opened this form. Nothing you typed is lost: send it again.", "problem");
  });

  // Times go on while nothing changes: the server is not asked for that.
  const STEPS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const told = (seconds, parts) => {
    const found = [];
    let rest = Math.max(0, Math.floor(seconds));
    for (const [size, unit] of STEPS) {
      const count = Math.floor(rest / size);
      rest -= count * size;
      if (count || found.length) found.push(count ? `${count}\u00a0${unit}` : "");
      if (found.length === parts) break;
    }
    return found.filter(Boolean).join(" ") || "0\u00a0s";
  };
  const skew = Date.now() / 1000 - Number(document.body.dataset.now || Date.now() / 1000);
  setInterval(() => {
    const now = Date.now() / 1000 - skew;
    for (const each of document.querySelectorAll("time[datetime]")) {
      const gap = now - Date.parse(each.dateTime) / 1000;
      each.textContent = Math.abs(gap) < 1 ? "now" : gap > 0 ? `${told(gap, 1)} ago` : `in ${told(-gap, 1)}`;
    }
    for (const each of document.querySelectorAll("[data-since]")) each.textContent = told(now - Number(each.dataset.since), 2);
  }, 5000);

  document.addEventListener("change", (event) => {
    const form = event.target.closest("form[data-submit-on-change]");
    if (form && event.target.matches("select, input[type=checkbox]")) form.requestSubmit();
  });
})();
