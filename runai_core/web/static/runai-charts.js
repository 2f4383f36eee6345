// Measurements of a workload, a project or a department, drawn by uPlot from the API's own answer.
"use strict";

(() => {
  const box = document.getElementById("charts");
  if (!box) return;
  const figures = [...box.querySelectorAll("figure[data-metric]")];
  const SCALE = { GiB: 1 / 1024 ** 3, "%": 1, cores: 1, GPUs: 1 };
  const LEAST_TOP = { "%": 100 }; // what the axis reaches at least
  const DAY = 86400;
  const HEIGHT = 210;
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
  const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
  const whole = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const plots = [];

  const span = () => {
    const seconds = Number(box.dataset.seconds);
    const end = seconds || !box.dataset.end ? new Date() : new Date(box.dataset.end);
    const start = seconds || !box.dataset.start ? new Date(end - (seconds || 3600) * 1000) : new Date(box.dataset.start);
    return [start, end];
  };

  // Hours, with the day below the first one and below midnight; days alone where they are that far apart.
  const ticks = (_plot, splits, _axis, _space, step) => splits.map((at, index) => {
    const date = new Date(at * 1000);
    if (step >= DAY) return day.format(date);
    const isNew = index === 0 || day.format(date) !== day.format(new Date(splits[index - 1] * 1000));
    return clock.format(date) + (isNew ? `\n${day.format(date)}` : "");
  });

  // Nobody measured between two samples that are far apart: no line joins them.
  const withGaps = (times, numbers) => {
    const step = (index) => times[index] - times[index - 1] || 0;
    const [at, values] = [[], []];
    times.forEach((time, index) => {
      // Older samples lie farther apart, and so do their neighbours.
      if (step(index) > Math.max(3 * step(index - 1), 3 * step(index + 1), 31)) {
        at.push(time - step(index) / 2);
        values.push(null);
      }
      at.push(time);
      values.push(numbers[index]);
    });
    return [at, values];
  };

  const draw = (figure, values, start, end) => {
    const unit = figure.dataset.unit;
    const note = figure.querySelector("figcaption");
    const numbers = values.map((each) => Number(each.value) * SCALE[unit]);
    figure.querySelector(".plot").replaceChildren();
    if (!numbers.length) {
      note.textContent = "Nobody measured this in the chosen time.";
      return;
    }
    const probe = document.createElement("span");
    figure.append(probe);
    const resolved = (name) => { probe.style.color = `var(${name})`; return getComputedStyle(probe).color; };
    const [ink, line, stroke] = [resolved("--soft"), resolved("--line"), resolved("--accent")];
    probe.remove();
    const last = numbers[numbers.length - 1];
    const summary = `Newest ${last.toPrecision(3)} ${unit}, most ${Math.max(...numbers).toPrecision(3)} ${unit}, ${numbers.length} samples. Times: ${zone}.`;
    const told = (plot) => {
      const at = plot.cursor.idx;
      const value = at == null ? null : plot.data[1][at];
      note.textContent = value == null ? summary : `${whole.format(new Date(plot.data[0][at] * 1000))}: ${value.toPrecision(3)} ${unit}`;
    };
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line } };
    const options = {
      width: width(figure),
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false },
      scales: { x: { min: start / 1000, max: end / 1000 }, y: { range: (_plot, low, high) => [Math.min(0, low), high > (LEAST_TOP[unit] ?? 0) ? high * 1.1 : LEAST_TOP[unit] ?? 1] } },
      axes: [{ ...axis, values: ticks, space: 64 }, { ...axis, size: (_plot, labels) => Math.max(50, ...(labels ?? []).map((each) => 7.5 * each.length + 20)), values: (_plot, splits) => splits.map((each) => `${each} ${unit}`.replace(" %", "%")) }],
      series: [{}, { label: unit, stroke, width: 2, fill: "transparent", points: { show: numbers.length < 40 } }],
      hooks: { setCursor: [told] },
    };
    const times = values.map((each) => Date.parse(each.timestamp) / 1000);
    plots.push(new uPlot(options, withGaps(times, numbers), figure.querySelector(".plot")));
    note.textContent = summary;
  };

  const width = (figure) => figure.clientWidth - 34; // without its padding and border
  new ResizeObserver(() => {
    for (const plot of plots) plot.setSize({ width: width(plot.root.closest("figure")), height: HEIGHT });
  }).observe(box);

  const load = async () => {
    const [start, end] = span();
    const query = new URLSearchParams({ start: start.toISOString(), end: end.toISOString(), numberOfSamples: "200" });
    for (const figure of figures) query.append("metricType", figure.dataset.metric);
    try {
      const answer = await fetch(`${box.dataset.url}?${query}`, { headers: { Accept: "application/json" } });
      const body = await answer.json();
      if (!answer.ok) throw new Error(body.message);
      const found = new Map(body.measurements.map((each) => [each.type, each.values]));
      for (const plot of plots.splice(0)) plot.destroy();
      for (const figure of figures) draw(figure, found.get(figure.dataset.metric) ?? [], start, end);
    } catch (error) {
      for (const figure of figures) figure.querySelector("figcaption").textContent = `Not there: ${error.message}`;
    }
  };

  load();
  if (Number(box.dataset.seconds)) setInterval(() => { if (!document.hidden && !box.matches(":hover")) load(); }, 10000);
  document.addEventListener("runai:theme", load);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", load);
})();
