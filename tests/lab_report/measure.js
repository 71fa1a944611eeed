// Measures pages as the browser laid them out. Each page is shown in a frame of its own at two widths, light and dark;
// what was found is written into the document as JSON.
"use strict";

const luminance = (color) => {
  const [r, g, b] = color.match(/[\d.]+/g).map(Number);
  const part = (v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
};
const contrast = (a, b) => {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
};
const overlap = (a, b) =>
  Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2;

function figure(svg, window, ground, told) {
  const box = svg.getBoundingClientRect();
  const id = svg.id.replace(/-(wide|narrow)$/, "");
  const wrong = (text) => told.problems.push(`${id}: ${text}`);
  if (!svg.querySelector("title").textContent || !svg.querySelector("desc").textContent) wrong("it has no description");
  const texts = [...svg.querySelectorAll("text")].map((text) => ({ text, box: text.getBoundingClientRect() }));
  for (const [index, one] of texts.entries()) {
    const words = one.text.lastChild.textContent;
    if (one.box.left < box.left - 1 || one.box.right > box.right + 1 || one.box.bottom > box.bottom + 1 || one.box.top < box.top - 1)
      wrong(`"${words}" leaves it`);
    for (const other of texts.slice(index + 1))
      if (overlap(one.box, other.box)) wrong(`"${words}" is over "${other.text.lastChild.textContent}"`);
    const color = window.getComputedStyle(one.text).fill;
    if (contrast(color, ground) < 4.5) wrong(`"${words}" can hardly be read: ${color} on ${ground}`);
  }
  told.texts += texts.length;
  const bars = [...svg.querySelectorAll("rect.bar")].filter((bar) => Number(bar.dataset.of) > 0).map((bar) => {
    const size = bar.getBoundingClientRect();
    const style = window.getComputedStyle(bar);
    const length = bar.classList.contains("tall") ? bar.height.baseVal.value : bar.width.baseVal.value;
    const seen = size.width > 0 && size.height > 0 && style.visibility === "visible" && Number(style.opacity) === 1;
    if (!seen) wrong(`a bar of ${bar.dataset.n} is not to be seen`);
    const paint = style.fill.startsWith("url") || contrast(style.fill, ground) < 1.5 ? style.stroke : style.fill;
    if (paint === "none" || contrast(paint, ground) < 1.5) wrong(`a bar has the colour of the ground: ${paint}`);
    if (style.fill.startsWith("url") && !svg.querySelector(style.fill.match(/#[\w-]+/)[0])) wrong(`no pattern ${style.fill}`);
    return { kind: bar.classList[1], n: Number(bar.dataset.n), of: Number(bar.dataset.of), length };
  });
  told.figures[id] = bars;
  alike(svg, window, wrong);
}

// Whoever sees no colours tells the lines of one plot by their strokes, and kinds of bar by pattern or by lightness.
function alike(svg, window, wrong) {
  const lines = [...svg.querySelectorAll("path.curve, path.other")].map((path) => ({
    box: path.getBoundingClientRect(), stroke: window.getComputedStyle(path).strokeDasharray,
  }));
  for (const [index, one] of lines.entries())
    for (const other of lines.slice(index + 1))
      if (one.stroke === other.stroke && overlap(one.box, other.box)) wrong(`two lines differ by colour alone: ${one.stroke}`);
  const kinds = new Map();
  for (const bar of svg.querySelectorAll("rect.bar")) {
    const style = window.getComputedStyle(bar);
    kinds.set(bar.classList[1], style.fill);
  }
  const known = [...kinds];
  for (const [index, [kind, one]] of known.entries())
    for (const [other, two] of known.slice(index + 1)) {
      const patterned = one.startsWith("url") || two.startsWith("url");
      if (patterned ? one === two : contrast(one, two) < 1.3)
        wrong(`bars "${kind}" and "${other}" differ by colour alone: ${one}, ${two}`);
    }
}

function page(frame) {
  const [document, window] = [frame.contentDocument, frame.contentWindow];
  const told = { page: frame.dataset.page, width: window.innerWidth, figures: {}, texts: 0, problems: [] };
  told.dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  const wrong = (text) => told.problems.push(text);
  document.querySelectorAll("details").forEach((details) => { details.open = true; });
  const ground = window.getComputedStyle(document.body).backgroundColor;
  told.ground = ground;
  for (const svg of document.querySelectorAll("svg.figure"))
    if (svg.getBoundingClientRect().width > 0) figure(svg, window, ground, told);
  for (const drawn of document.querySelectorAll("figure.drawn")) {
    const seen = [...drawn.querySelectorAll("svg.figure")].filter((svg) => svg.getBoundingClientRect().width > 0);
    if (seen.length !== 1) wrong(`${seen.length} drawings of a figure are to be seen`);
  }
  if (document.documentElement.scrollWidth > window.innerWidth) wrong("the page is wider than its window");
  for (const element of document.querySelectorAll("p, h1, h2, li, dt, dd, pre, figcaption, summary")) {
    const style = window.getComputedStyle(element);
    if (element.scrollWidth > element.clientWidth + 1 && style.display !== "inline")
      wrong(`<${element.localName}> is wider than its place: ${element.textContent.slice(0, 80)}`);
    if (element.textContent.trim() && contrast(style.color, ground) < 4.5) wrong(`<${element.localName}> can hardly be read`);
  }
  for (const table of document.querySelectorAll("table"))
    if (!table.closest(".scroll")) wrong("a table has no room to scroll");
  told.requests = window.performance.getEntriesByType("resource").map((entry) => entry.name);
  told.foreign = [...document.querySelectorAll("*")].filter((element) =>
    ["script", "a", "img", "iframe", "object", "embed", "link", "form", "input", "base", "image", "use", "foreignobject"]
      .includes(element.localName.toLowerCase()) || [...element.attributes].some((a) => /^on|href|^src/i.test(a.name))
  ).map((element) => element.outerHTML.slice(0, 120));
  told.harmed = window.harmed === true || globalThis.harmed === true;
  return told;
}

const frames = [];
for (const source of document.querySelectorAll("div[data-source]"))
  for (const width of [400, 1000])
    for (const scheme of ["light", "dark"]) {
      const frame = document.createElement("iframe");
      frame.style.cssText = `width:${width}px;height:800px;border:0;color-scheme:${scheme}`;
      frame.dataset.page = source.id;
      frame.srcdoc = source.dataset.source;
      document.body.append(frame);
      frames.push(frame);
    }
window.addEventListener("load", () => {
  const measured = document.createElement("pre");
  measured.id = "measured";
  try {
    measured.textContent = JSON.stringify(frames.map(page));
  } catch (error) {
    measured.textContent = JSON.stringify(String(error));
  }
  document.body.replaceChildren(measured);
});
