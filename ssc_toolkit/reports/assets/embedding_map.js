"use strict";
// Interactive map of the embedding space: points with audio, and their nearest neighbors under each model.

const SVG = "http://www.w3.org/2000/svg";
const SHADES = ["#3a86d6", "#e08a00", "#1f9e77", "#d05fa0", "#8a6fd8", "#c8502a", "#6b8e23", "#4fb3d9"];
const UNKNOWN = "#8a939d";
const REACH = 26; // maximum distance from the pointer to a point, in screen pixels

function shade(column, number) {
  if (number < 0) return UNKNOWN;
  const count = column.classes.length;
  if (column.ordered) return `hsl(${260 - (200 * number) / Math.max(1, count - 1)} 65% 55%)`;
  if (count <= SHADES.length) return SHADES[number];
  return `hsl(${(360 * number) / count} ${number % 2 ? 75 : 55}% ${number % 2 ? 45 : 60}%)`;
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function explore(root) {
  const data = JSON.parse(root.querySelector("script").textContent);
  const part = (name) => root.querySelector(`.${name}`);
  const svg = root.querySelector("svg");
  const audio = root.querySelector("audio");
  const links = svg.querySelector(".links");
  const state = { model: 0, layout: 0, column: 0, chosen: -1, under: -1, only: -1, playing: -1 };

  const circles = data.titles.map((_, point) => {
    const circle = document.createElementNS(SVG, "circle");
    const around = data.models.flatMap(({ neighbors }) => neighbors[point]);
    circle.classList.toggle("silent", data.clips[point] === null);
    circle.classList.toggle("whole", [point, ...around].every((other) => data.clips[other] !== null));
    return circle;
  });
  // Points with audio are drawn above those without.
  const order = circles.map((_, point) => point).sort((a, b) => (data.clips[a] !== null) - (data.clips[b] !== null));
  svg.querySelector(".points").append(...order.map((point) => circles[point]));

  const column = () => data.columns[state.column];
  const label = (point, of = column()) => (of.values[point] < 0 ? "unknown" : of.classes[of.values[point]]);
  const place = (point) => {
    const places = data.models[state.model].layouts[state.layout].places;
    return [places[2 * point], places[2 * point + 1]];
  };
  const labels = (point) => data.columns.map((of) => `${of.name}: ${label(point, of)}`).join(" · ");

  // --- drawing

  function drawPlaces() {
    circles.forEach((circle, point) => {
      const [x, y] = place(point);
      circle.setAttribute("cx", x);
      circle.setAttribute("cy", y);
    });
    part("note").textContent = data.models[state.model].layouts[state.layout].note;
  }

  function drawColors() {
    circles.forEach((circle, point) => {
      const number = column().values[point];
      circle.style.setProperty("--shade", shade(column(), number));
      circle.classList.toggle("faint", state.only >= 0 && number !== state.only);
    });
  }

  function drawLegend() {
    const entries = column().classes.map((name, number) => {
      const button = element("button");
      button.type = "button";
      button.setAttribute("aria-pressed", String(number === state.only));
      button.append(swatch(number), name);
      button.addEventListener("click", () => {
        state.only = state.only === number ? -1 : number;
        for (const [other, { firstChild }] of [...part("legend").children].entries()) {
          firstChild.setAttribute("aria-pressed", String(other === state.only));
        }
        drawColors();
      });
      const entry = element("li");
      entry.append(button);
      return entry;
    });
    part("legend").replaceChildren(...entries);
  }

  function swatch(number) {
    const dot = element("span", "swatch");
    dot.style.setProperty("--shade", shade(column(), number));
    return dot;
  }

  function drawChosen() {
    const near = state.chosen < 0 ? [] : data.models[state.model].neighbors[state.chosen];
    circles.forEach((circle, point) => {
      circle.classList.toggle("chosen", point === state.chosen);
      circle.classList.toggle("neighbor", near.includes(point));
    });
    links.replaceChildren(
      ...near.map((point) => {
        const line = document.createElementNS(SVG, "line");
        const [[x1, y1], [x2, y2]] = [place(state.chosen), place(point)];
        Object.entries({ x1, y1, x2, y2 }).forEach(([name, value]) => line.setAttribute(name, value));
        return line;
      }),
    );
    if (state.chosen < 0) return;
    part("title").textContent = data.titles[state.chosen];
    part("labels").textContent = labels(state.chosen);
    part("models").replaceChildren(...data.models.map(neighborList));
  }

  function neighborList(model, number) {
    const section = element("section", number === state.model ? "on-the-map" : "");
    section.dataset.model = model.name;
    const list = element("ol");
    model.neighbors[state.chosen].forEach((point, rank) => {
      const button = element("button");
      button.type = "button";
      button.dataset.point = point;
      const name = element("span", "name", data.titles[point]);
      const tag = element("small");
      tag.append(swatch(column().values[point]), label(point));
      name.append(tag);
      button.append(element("span", "sign"), name);
      button.append(element("span", "similarity", model.similarities[state.chosen][rank].toFixed(2)));
      button.addEventListener("click", () => (state.playing === point ? audio.pause() : play(point)));
      const entry = element("li");
      entry.append(button);
      list.append(entry);
    });
    section.append(element("h3", "", model.name + (number === state.model ? " (on the map)" : "")), list);
    return section;
  }

  function drawPlaying() {
    for (const button of root.querySelectorAll("ol button")) {
      const point = Number(button.dataset.point);
      const silent = data.clips[point] === null;
      button.querySelector(".sign").textContent = silent ? "–" : point === state.playing ? "❚❚" : "▶";
      const does = silent ? "no audio:" : point === state.playing ? "pause" : "play";
      button.setAttribute("aria-label", `${does} ${data.titles[point]}, ${labels(point)}`);
    }
  }

  // --- user actions

  function play(point) {
    audio.pause();
    const silent = data.clips[point] === null;
    audio.hidden = silent;
    part("status").textContent = silent
      ? `The audio of “${data.titles[point]}” is not included in this page.`
      : `Playing “${data.titles[point]}”.`;
    if (silent) return;
    audio.src = data.clips[point];
    audio.dataset.point = point;
    audio.play().catch((error) => {
      if (error.name !== "AbortError") part("status").textContent = `The browser could not play the clip: ${error.message}`;
    });
  }

  function choose(point) {
    state.chosen = point;
    drawChosen();
    drawPlaying();
    play(point);
  }

  function pointTo(point) {
    if (state.under >= 0) circles[state.under].classList.remove("under");
    state.under = point;
    const tip = part("tip");
    tip.hidden = point < 0;
    if (point < 0) return;
    circles[point].classList.add("under");
    tip.replaceChildren(element("strong", "", data.titles[point]), element("br"), labels(point));
    if (data.clips[point] === null) tip.append(element("br"), "audio not included");
    const box = svg.viewBox.baseVal;
    const [x, y] = place(point);
    const [right, low] = [x > box.width / 2, y > box.height / 2]; // place the tip toward the middle
    tip.style.left = right ? "" : `${(100 * x) / box.width}%`;
    tip.style.right = right ? `${100 - (100 * x) / box.width}%` : "";
    tip.style.top = low ? "" : `calc(${(100 * y) / box.height}% + 14px)`;
    tip.style.bottom = low ? `calc(${100 - (100 * y) / box.height}% + 14px)` : "";
  }

  /** Return the point under the pointer, or -1. */
  function pointAt(event) {
    const box = svg.getBoundingClientRect();
    const scale = box.width / svg.viewBox.baseVal.width;
    let [best, nearest] = [-1, REACH];
    circles.forEach((_, point) => {
      const [x, y] = place(point);
      const distance = Math.hypot(box.left + x * scale - event.clientX, box.top + y * scale - event.clientY);
      if (distance < nearest) [best, nearest] = [point, distance];
    });
    return best;
  }

  /** Return the nearest point in a direction; sideways distance counts double. */
  function nextPoint([right, down]) {
    if (state.under < 0) return state.chosen < 0 ? order[order.length - 1] : state.chosen;
    const [x0, y0] = place(state.under);
    let [best, nearest] = [state.under, Infinity];
    circles.forEach((_, point) => {
      const [x, y] = place(point);
      const along = right * (x - x0) + down * (y - y0);
      const aside = Math.abs(down * (x - x0)) + Math.abs(right * (y - y0));
      if (along > 0 && along + 2 * aside < nearest) [best, nearest] = [point, along + 2 * aside];
    });
    return best;
  }

  const ARROWS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
  svg.addEventListener("keydown", (event) => {
    if (event.key in ARROWS) {
      pointTo(nextPoint(ARROWS[event.key]));
      part("status").textContent = `${data.titles[state.under]}, ${labels(state.under)}`;
    } else if ((event.key === "Enter" || event.key === " ") && state.under >= 0) choose(state.under);
    else return;
    event.preventDefault();
  });
  svg.addEventListener("blur", () => pointTo(-1));
  svg.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "touch") pointTo(pointAt(event));
  });
  svg.addEventListener("pointerleave", () => pointTo(-1));
  svg.addEventListener("click", (event) => {
    const point = pointAt(event);
    if (point >= 0) choose(point);
  });

  audio.addEventListener("play", () => {
    state.playing = Number(audio.dataset.point);
    drawPlaying();
  });
  for (const end of ["pause", "ended"]) {
    audio.addEventListener(end, () => {
      state.playing = -1;
      drawPlaying();
    });
  }

  const changed = {
    model: [drawPlaces, drawChosen],
    layout: [drawPlaces, drawChosen],
    column: [drawColors, drawLegend, drawChosen],
  };
  for (const select of root.querySelectorAll("select")) {
    const names = { model: data.models, layout: data.models[0].layouts, column: data.columns }[select.name];
    select.replaceChildren(...names.map(({ name }) => new Option(name)));
    select.addEventListener("change", () => {
      state[select.name] = select.selectedIndex;
      if (select.name === "column") state.only = -1;
      pointTo(-1);
      [...changed[select.name], drawPlaying].forEach((draw) => draw());
    });
  }

  new ResizeObserver(() => {
    svg.style.setProperty("--unit", svg.viewBox.baseVal.width / svg.clientWidth);
  }).observe(svg);
  [drawPlaces, drawColors, drawLegend].forEach((draw) => draw());
}

document.querySelectorAll(".explorer").forEach(explore);
