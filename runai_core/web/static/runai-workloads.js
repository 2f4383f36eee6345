// The Workloads table: what is chosen survives an update, buttons know what they can do, confirmation is a dialog.
"use strict";

(() => {
  const picked = new Set();
  const unfolded = new Set(); // reasons that are shown whole
  const NEEDS_ONE = new Set(["details", "connect", "clone"]);
  const boxes = () => [...document.querySelectorAll("#list input[name=uid]")];

  const show = () => {
    const all = boxes();
    for (const box of all) box.checked = picked.has(box.value);
    const head = document.getElementById("pick-all");
    if (head) {
      head.checked = all.length > 0 && all.every((box) => box.checked);
      head.indeterminate = !head.checked && all.some((box) => box.checked);
    }
    for (const button of document.querySelectorAll("button[data-action]")) {
      button.disabled = NEEDS_ONE.has(button.dataset.action) ? picked.size !== 1 : picked.size === 0;
    }
    document.getElementById("picked").textContent = picked.size ? `${picked.size} chosen` : "";
    for (const why of document.querySelectorAll("#list details.why")) why.open = unfolded.has(why.id);
  };

  const drop_gone = () => {
    const here = new Set(boxes().map((box) => box.value));
    for (const uid of picked) if (!here.has(uid)) picked.delete(uid);
  };

  document.addEventListener("change", (event) => {
    const box = event.target;
    if (box.id === "pick-all") {
      for (const each of boxes()) box.checked ? picked.add(each.value) : picked.delete(each.value);
    } else if (box.name === "uid" && box.type === "checkbox") {
      box.checked ? picked.add(box.value) : picked.delete(box.value);
    } else return;
    show();
  });

  document.addEventListener("toggle", (event) => {
    if (!event.target.matches?.("#list details.why")) return;
    event.target.open ? unfolded.add(event.target.id) : unfolded.delete(event.target.id);
  }, true);

  // An update would take away what somebody is reading or has opened: it waits for the next turn.
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.elt.id !== "list") return;
    const busy = document.hidden || document.querySelector("dialog[open]") || !getSelection().isCollapsed;
    if (busy) event.preventDefault();
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id === "dialog") {
      const dialog = document.getElementById("dialog");
      if (dialog.childElementCount && !dialog.open) dialog.showModal();
      return;
    }
    const list = document.getElementById("list");
    if (!list) return;
    drop_gone();
    show();
    for (const link of document.querySelectorAll("a[data-csv]")) link.href = list.dataset.csv;
    for (const field of document.querySelectorAll("input[data-address]")) field.value = list.dataset.address;
  });

  document.addEventListener("click", (event) => {
    const close = event.target.closest("dialog [data-close]");
    if (!close) return;
    event.preventDefault();
    close.closest("dialog").close();
  });

  show();
})();
