// The page: who is told what when something happens.
import * as server from "./server.js";
import { Ids } from "./ids.js";
import { Canvas, TOOLS } from "./canvas.js";
import { Palette } from "./palette.js";
import { ResultView } from "./result.js";
import { Settings } from "./settings.js";
import { Styles, History, fillTemplates } from "./strips.js";
import { png } from "./png.js";
import * as draft from "./draft.js";
import { keys, listKeys } from "./keys.js";

const $ = (id) => document.getElementById(id);
const about = await server.about().catch((error) => toast(error.message) ?? Promise.reject(error));
const { width, height } = about;
const names = [];
const colours = [];
for (const { id, name, colour } of about.classes) {
  names[id] = name;
  colours[id] = colour;
}
for (let id = 0; id < colours.length; id++) colours[id] ??= [255, 255, 255]; // "no class" is 255: between it and the last there is none

// ------------------------------------------------------------------------------------------------ the mask

const ids = new Ids(width, height, names[1] === undefined ? 0 : 1);
const canvas = new Canvas($("canvas"), ids, colours, { stroke: changed, pick: chooseClass, hover: under });
const palette = new Palette($("palette"), $("search"), about.classes, chooseClass);
let name = "studio";

function chooseClass(id) {
  canvas.id = id;
  palette.choose(id);
  if (["eraser", "pick", "pan"].includes(canvas.tool)) chooseTool("brush");
}

function chooseTool(tool) {
  canvas.abandon();
  canvas.tool = tool;
  $("tools").querySelector(`[value=${tool}]`).checked = true;
  canvas.element.dataset.tool = tool;
  canvas.draw();
}

function setSize(size) {
  canvas.size = Math.min(Number($("size").max), Math.max(1, Math.round(size)));
  $("size").value = canvas.size;
  $("size-shown").textContent = `${canvas.size} px`;
  canvas.draw();
}

function under(id) {
  $("under").textContent = id < 0 ? `${width} × ${height}` : names[id];
}

// After everything that changes the mask.
function changed() {
  palette.cover(ids.counts(names.length));
  $("undo").disabled = !ids.past.length;
  $("redo").disabled = !ids.future.length;
  canvas.draw();
  draft.save(ids, name);
  if (live()) soon();
}

function setMask(data, called) {
  if (called !== undefined) name = called;
  canvas.abandon();
  ids.replace(data);
  changed();
}

const step = (way) => () => ids[way]() && changed();

const TITLES = { brush: "Brush", eraser: "Eraser", fill: "Fill", lasso: "Lasso, polygon", rectangle: "Rectangle", pick: "Pick a class", pan: "Move" };
const KEYS = { brush: "B", eraser: "E", fill: "G", lasso: "L", rectangle: "R", pick: "I", pan: "H" };
for (const tool of TOOLS) {
  const label = document.createElement("label");
  label.title = `${TITLES[tool]} (${KEYS[tool]})`;
  label.innerHTML = `<input type="radio" name="tool" value="${tool}" aria-label="${TITLES[tool]}"><svg><use href="#i-${tool}"/></svg>`;
  label.firstChild.addEventListener("change", () => chooseTool(tool));
  $("tools").append(label);
}
for (const { id, name: called, chinese } of about.classes) $("ground").append(new Option(`${called} ${chinese}`, id));
$("ground").addEventListener("change", () => (canvas.ground = Number($("ground").value)));
$("size").max = Math.round(width / 3);
$("size").addEventListener("input", () => setSize(Number($("size").value)));
for (const input of document.querySelectorAll("[name=shape]")) input.addEventListener("change", () => (canvas.shape = input.value));
$("undo").addEventListener("click", step("undo"));
$("redo").addEventListener("click", step("redo"));
$("zoom-in").addEventListener("click", () => canvas.zoom(1.5));
$("zoom-out").addEventListener("click", () => canvas.zoom(1 / 1.5));
$("zoom-fit").addEventListener("click", () => canvas.fit());

function overlay() {
  const which = $("overlay").value;
  const address = which === "style" ? styles.address : which === "result" && current ? server.picture(current.id) : null;
  canvas.overlay = address ? Object.assign(new Image(), { onload: () => canvas.draw(), src: address }) : null;
  $("opacity").disabled = !address;
  canvas.draw();
}
$("overlay").addEventListener("change", overlay);
$("opacity").addEventListener("input", () => {
  canvas.opacity = Number($("opacity").value) / 100;
  canvas.draw();
});

// ------------------------------------------------------------------------------------------------ files

const safe = (text) => text.replace(/\.[^.]*$/, "").replace(/[^A-Za-z0-9_.-]+/g, "-").replace(/^[.-]+/, "").slice(0, 60) || "studio";
const attempt = (work) => (...args) => Promise.resolve(work(...args)).catch((error) => toast(error.message));

const openMask = attempt(async (file) => setMask(await server.openMask(file.slice(0, file.size, "image/png")), safe(file.name)));
const useStyle = attempt(async (file) => {
  const style = await server.addStyle(file);
  styles.add(style, true);
  styles.pick(style.id);
});
const segment = attempt(async (file) => {
  $("state").textContent = "finding the classes of the photo";
  setMask(await server.segment(file), safe(file.name));
  $("state").textContent = "the photo's mask is on the canvas";
});

function download(blob, called) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: called });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

async function saveMask(how) {
  const called = $("mask-name").value;
  name = safe(`${called}.png`);
  draft.save(ids, name);
  const legend = about.classes.map((c) => `${c.id} ${c.name} rgb(${c.colour})`).join("\n");
  download(how === "colour" ? await png(ids, colours, legend) : await png(ids), how === "colour" ? `${name}-colour.png` : `${name}.png`);
}

// A file input asks for one file and hands it on.
let takePhoto = null;
const choose = (input) => {
  $(input).value = "";
  $(input).click();
};
$("open").addEventListener("click", () => choose("mask-file"));
$("mask-file").addEventListener("change", () => $("mask-file").files[0] && openMask($("mask-file").files[0]));
$("photo-file").addEventListener("change", () => $("photo-file").files[0] && takePhoto($("photo-file").files[0]));
for (const [id, take] of [["upload", useStyle], ["segment", segment]])
  $(id).addEventListener("click", () => {
    takePhoto = take;
    choose("photo-file");
  });
$("segment").hidden = !about.segmenter;
$("save").addEventListener("click", openSave);
$("save-dialog").addEventListener("close", () => $("save-dialog").returnValue && saveMask($("save-dialog").returnValue));
function openSave() {
  $("mask-name").value = name;
  $("save-dialog").returnValue = "";
  $("save-dialog").showModal();
}

// A PNG on the canvas is a mask; a photo there, or any picture elsewhere, a style.
let depth = 0;
document.addEventListener("dragenter", (event) => event.dataTransfer.types.includes("Files") && (depth++, ($("drop").hidden = false)));
document.addEventListener("dragleave", () => (depth = Math.max(0, depth - 1)) || ($("drop").hidden = true));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  $("drop").hidden = true;
  const file = event.dataTransfer.files[0];
  if (!file) return;
  const onMask = event.target.closest(".stage")?.contains(canvas.element);
  (!onMask ? useStyle : file.type === "image/png" ? openMask : about.segmenter ? segment : useStyle)(file);
});

$("templates").addEventListener("click", () => {
  fillTemplates($("templates-list"), about.templates, about, colours, server.template, (data, called) => {
    setMask(data, safe(called.toLowerCase()));
    $("templates-dialog").close();
  });
  $("templates-dialog").showModal();
});

// ------------------------------------------------------------------------------------------------ style, settings, history

const styles = new Styles($("styles"), $("style-name"), about.styles, () => {
  backdrop();
  overlay();
  draft.remember("style", styles.chosen);
  if (live()) soon();
});
// Before anything is painted: where Algorithm 2 begins, the style picture seen from afar.
function backdrop() {
  Object.assign($("hint-style"), { src: styles.address, hidden: false });
}
const settings = new Settings($, about, () => live() && soon());
const history = new History($("history"), $("history-hint"), restore);
let current = null; // the entry whose picture is shown

const view = new ResultView(
  { frames: $("frames"), hint: $("hint"), progress: $("progress"), state: $("state"), film: $("film"), filmField: $("film-field") },
  width / height,
  (entry) => {
    current = entry;
    $("result-buttons").hidden = false;
    $("keep").hidden = entry.kept;
    for (const [id, kind] of [["get-image", "jpg"], ["get-mask", "png"], ["get-recipe", "json"]])
      Object.assign($(id), { href: `/api/results/${entry.id}.${kind}`, download: `${entry.id}.${kind}` });
    if ($("overlay").value === "result") overlay();
  },
);

// Everything as it was for a result: picture, mask, style, settings.
const restoreMask = attempt(async (entry) => setMask(await server.openMask(await server.resultMask(entry.id)), entry.name));
async function restore(entry) {
  $("live").checked = false;
  view.forget();
  view.show([entry]);
  view.say(`seed ${entry.asked.seed} · ${entry.asked.preset}`);
  settings.restore(entry.asked);
  styles.add({ id: entry.asked.style, name: "the style of that one" }, true); // unless it is on the shelf
  styles.pick(entry.asked.style);
  await restoreMask(entry);
}

$("as-style").addEventListener("click", () => {
  styles.add({ id: current.id, name: "the landscape of before" }, true, server.picture(current.id));
  styles.pick(current.id);
});
$("keep").addEventListener("click", attempt(async () => {
  const entry = await server.keep(current.id);
  history.add(entry);
  current.kept = true;
  $("keep").hidden = true;
}));

// ------------------------------------------------------------------------------------------------ painting

let job = null; // {id, stop()} of the painting that is shown
let turn = 0; // counts paintings: what an older one says is not for us

function live() {
  return $("live").checked;
}

let timer = null;
function soon() {
  clearTimeout(timer);
  timer = setTimeout(() => live() && paint(true), 120);
}

async function stop() {
  const old = job;
  job = null;
  turn++;
  if (old) {
    old.stop();
    await server.cancel(old.id).catch(() => {});
  }
  $("paint").textContent = "Paint";
  $("paint").classList.remove("stop");
}

async function paint(quick = false) {
  const mine = turn + 1;
  await stop();
  if (turn !== mine) return; // another one began meanwhile
  const options = { ...settings.value(), style: styles.chosen, name, live: quick };
  if (quick) Object.assign(options, { preset: about.live, variations: 1, strength: null, rounds: null, guidance: null, colour_transfer: null });
  view.begin(options.variations);
  $("paint").textContent = "Stop";
  $("paint").classList.add("stop");
  try {
    const id = await server.paint(await png(ids), options);
    if (turn !== mine) return void server.cancel(id).catch(() => {});
    job = { id, stop: server.watch(id, (kind, data) => turn === mine && hear(kind, data, quick)) };
  } catch (error) {
    if (turn === mine) hear("failed", { error: error.message });
  }
}

function hear(kind, data, quick) {
  if (kind === "queued") view.queued(data.place);
  if (kind === "step") view.step(data);
  if (kind === "round") view.round(data);
  if (!["done", "failed", "cancelled"].includes(kind)) return;
  job = null;
  $("paint").textContent = "Paint";
  $("paint").classList.remove("stop");
  if (kind === "done") {
    view.end(data.results, data.seconds);
    if (!quick) [...data.results].reverse().forEach((entry) => history.add(entry));
  } else view.stop(kind === "failed" ? "" : "stopped");
  if (kind === "failed") toast(data.error);
}

$("paint").addEventListener("click", async () => {
  if (!job && !$("paint").classList.contains("stop")) return paint();
  await stop();
  view.stop("stopped");
});
$("live").addEventListener("change", () => live() && soon());

// ------------------------------------------------------------------------------------------------ the rest

function toast(text) {
  const line = Object.assign(document.createElement("p"), { textContent: text });
  $("toasts").append(line);
  setTimeout(() => line.remove(), 8000);
}

$("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("studio-theme", root.dataset.theme);
});
$("help").addEventListener("click", () => $("help-dialog").showModal());

const actions = {
  ...Object.fromEntries(TOOLS.map((tool) => [tool, () => chooseTool(tool)])),
  undo: step("undo"), redo: step("redo"), smaller: () => setSize(canvas.size / 1.2 - 0.5), larger: () => setSize(canvas.size * 1.2 + 0.5),
  swap: () => {
    const id = canvas.id;
    chooseClass(canvas.ground);
    canvas.ground = id;
    $("ground").value = id;
  },
  zoomIn: () => canvas.zoom(1.5), zoomOut: () => canvas.zoom(1 / 1.5), fit: () => canvas.fit(),
  paint: () => $("paint").click(), live: () => $("live").click(), dice: () => settings.roll(), search: () => $("search").focus(),
  open: () => $("open").click(), save: openSave, templates: () => $("templates").click(), help: () => $("help-dialog").showModal(),
  class: (n) => about.classes[n] && chooseClass(about.classes[n].id),
  give_up: () => canvas.abandon() || (job && $("paint").click()),
  panning: (on) => {
    canvas.panning = on;
    canvas.element.classList.toggle("panning", on);
  },
};
keys(actions);
listKeys($("keys"));

const kept = draft.load(width, height, new Set(about.classes.map(({ id }) => id)));
if (kept) {
  ids.data.set(kept.data);
  name = kept.name;
} else ids.data.set(await server.template(about.templates[0].id));
chooseClass(5);
$("ground").value = canvas.ground = 1;
chooseTool("brush");
setSize(width / 14);
under(-1);
if (!styles.pick(draft.recall("style"), true)) styles.pick(about.styles[0].id, true);
backdrop();
about.results.forEach((entry) => history.add(entry, false));
if (about.results.length) view.show([about.results[0]]);
$("about").textContent = about.about.short;
changed();
document.body.dataset.ready = "true";
