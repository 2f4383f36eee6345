// Measurements of a workload, drawn by uPlot from the API's own answer.
"use strict";

(() => {
  const box = document.getElementById("charts");
  if (!box) return;
  const figures = [...box.querySelectorAll("figure[data-metric]")];
  const SCALE = { GiB: 1 / 1024 ** 3, "%": 1, cores: 1 };
  const plots = [];

  const span = () => {
    const seconds = Number(box.dataset.seconds);
    const end = seconds || !box.dataset.end ? new Date() : new Date(box.dataset.end);
    const start = seconds || !box.dataset.start ? new Date(end - (seconds || 3600) * 1000) : new Date(box.dataset.start);
    return [start, end];
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
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line } };
    const options = {
      width: figure.clientWidth - 34,
      height: 200,
      legend: { show: true },
      scales: { x: { min: start / 1000, max: end / 1000 }, y: { range: (_plot, low, high) => [Math.min(0, low), high > 0 ? high * 1.1 : 1] } },
      axes: [axis, { ...axis, size: 56 }],
      series: [{}, { label: unit, stroke, width: 2, fill: "transparent", points: { show: numbers.length < 40 } }],
    };
    const times = values.map((each) => Date.parse(each.timestamp) / 1000);
    plots.push(new uPlot(options, [times, numbers], figure.querySelector(".plot")));
    const most = Math.max(...numbers);
    const last = numbers[numbers.length - 1];
    note.textContent = `Newest ${last.toPrecision(3)} ${unit}, most ${most.toPrecision(3)} ${unit}, ${numbers.length} samples.`;
  };

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
  if (Number(box.dataset.seconds)) setInterval(() => { if (!document.hidden) load(); }, 10000);
  document.addEventListener("runai:theme", load);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", load);
})();
