// A log that is followed: its end first, and never more in the page than a browser can bear.
"use strict";

(() => {
  const box = document.getElementById("log");
  if (!box) return;
  const TAIL = 1000; // lines at the beginning
  const MOST = 400_000; // characters that are kept in the page
  const PIECE = 20_000; // characters of one text node
  const note = document.getElementById("log-note");
  const follow = document.getElementById("log-follow");
  let waiting = ""; // came, not shown yet
  let kept = 0;
  let dropped = false;

  const say = () => {
    note.textContent = dropped
      ? "Only the newest part is shown; Download has all that is kept."
      : `The last ${TAIL} lines and what comes; Download has all that is kept.`;
  };

  const show = () => {
    if (waiting) {
      const isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
      if (waiting.length > MOST) {
        waiting = waiting.slice(-MOST);
        box.replaceChildren();
        kept = 0;
        dropped = true;
      }
      for (let at = 0; at < waiting.length; at += PIECE) {
        const node = document.createTextNode(waiting.slice(at, at + PIECE));
        box.append(node);
        kept += node.length;
      }
      waiting = "";
      while (kept > MOST && box.firstChild) {
        kept -= box.firstChild.length;
        box.firstChild.remove();
        dropped = true;
      }
      say();
      if (follow.checked && isAtEnd) box.scrollTop = box.scrollHeight;
    }
    setTimeout(() => requestAnimationFrame(show), 100);
  };

  const read = async () => {
    const stop = new AbortController();
    addEventListener("pagehide", () => stop.abort(), { once: true });
    follow.addEventListener("change", () => { if (follow.checked) box.scrollTop = box.scrollHeight; });
    try {
      const answer = await fetch(`${box.dataset.url}&follow=true&tail=${TAIL}`, { signal: stop.signal });
      if (!answer.ok) throw new Error((await answer.json()).message);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let turn = await reader.read(); !turn.done; turn = await reader.read()) {
        waiting += turn.value;
        if (waiting.length > 2 * MOST) waiting = waiting.slice(-MOST), (dropped = true);
      }
      setTimeout(() => { note.textContent += " The log has ended."; }, 300);
    } catch (error) {
      if (error.name !== "AbortError") note.textContent = `The log cannot be read: ${error.message}`;
    }
  };

  say();
  show();
  read();
})();
