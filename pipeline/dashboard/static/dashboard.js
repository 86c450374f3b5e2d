"use strict";
// Draws figures when they come into view, and keeps a search's page up to date.

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const themes = fetch("/static/themes.json").then((answer) => answer.json());
const REDRAW_EVERY = 15000; // milliseconds, at most, while a search goes on
const ASK_EVERY = 30000; // milliseconds, of a search that cannot be followed live now

async function draw(element) {
  let figure;
  if (element.dataset.figure) {
    figure = JSON.parse(element.dataset.figure);
  } else {
    const answer = await fetch(element.dataset.src);
    if (!answer.ok) {
      element.textContent = "This figure cannot be drawn now: " + answer.status;
      return;
    }
    figure = await answer.json();
  }
  const { options, ...modes } = await themes;
  figure.layout.template = modes[dark.matches ? "dark" : "light"];
  element.querySelector("p")?.remove();
  element.drawn = Date.now();
  await Plotly.react(element, figure.data, figure.layout, options);
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    entry.target.visible = entry.isIntersecting;
    if (entry.isIntersecting && !entry.target.drawn) draw(entry.target);
  }
}, { rootMargin: "200px" });

document.querySelectorAll(".figure").forEach((element) => seen.observe(element));
dark.addEventListener("change", () => {
  document.querySelectorAll(".figure").forEach((element) => element.drawn && draw(element));
});

const whole = new Intl.NumberFormat("en-US");
function shown(key, value) {
  if (value === null || value === undefined) return key === "reason" ? "" : "–";
  if (key === "best" || key === "mean") return value.toFixed(4);
  if (key === "eta_seconds") return duration(Math.round(value));
  return typeof value === "number" ? whole.format(value) : String(value);
}

function duration(seconds) {
  if (seconds < 60) return seconds + " s";
  if (seconds < 3600) return Math.floor(seconds / 60) + " min " + (seconds % 60) + " s";
  const hours = Math.floor(seconds / 3600);
  if (hours < 48) return hours + " h " + Math.floor((seconds % 3600) / 60) + " min";
  return Math.floor(hours / 24) + " d " + (hours % 24) + " h";
}

function update(now) {
  document.querySelectorAll("[data-live]").forEach((element) => {
    const key = element.dataset.live;
    if (key === "progress") {
      element.max = now.budget;
      element.value = now.completed;
      return;
    }
    element.textContent = shown(key, now[key]);
    if (key === "status") element.className = "state " + now.status;
  });
}

const live = document.querySelector("[data-events]");
if (live) {
  let completed = null, source = null, retry = null;
  function follow() {  // only while it is seen: a browser has six connections for all its tabs
    source?.close();
    clearTimeout(retry);
    if (document.hidden) return;
    source = new EventSource(live.dataset.events);
    source.onmessage = (event) => heard(JSON.parse(event.data));
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) ask();  // else it tries again by itself
    };
  }
  async function ask() {  // too many follow searches live
    retry = setTimeout(follow, ASK_EVERY);
    const answer = await fetch(live.dataset.json).catch(() => null);
    if (answer?.ok) heard(await answer.json());
  }
  document.addEventListener("visibilitychange", follow);
  const heard = (now) => {
    update(now);
    if (completed !== null && now.completed === completed) return;
    completed = now.completed;
    document.querySelectorAll(".figure").forEach((element) => {
      if (element.visible && element.drawn && Date.now() - element.drawn > REDRAW_EVERY) draw(element);
    });
  };
  follow();
}
