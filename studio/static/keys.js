// Keyboard shortcuts: one table, for the listener and for the help.

const TABLE = [
  ["b", "brush", "Brush"], ["e", "eraser", "Eraser"], ["g", "fill", "Fill"], ["l", "lasso", "Lasso, polygon"],
  ["r", "rectangle", "Rectangle"], ["i", "pick", "Pick a class from the canvas"], ["h", "pan", "Move"],
  ["[", "smaller", "Smaller brush"], ["]", "larger", "Larger brush"], ["x", "swap", "Swap class and eraser's class"],
  ["/", "search", "Search a class"], ["+", "zoomIn", "Zoom in"], ["-", "zoomOut", "Zoom out"], ["0", "fit", "Fit"],
  ["Ctrl z", "undo", "Undo"], ["Ctrl Shift z", "redo", "Redo"], ["Ctrl Enter", "paint", "Paint, or stop"],
  ["v", "live", "Live on and off"], ["d", "dice", "Another seed"], ["t", "templates", "Templates"], ["o", "open", "Open a mask"],
  ["s", "save", "Save the mask"], ["Escape", "give_up", "Give up a lasso, stop painting"], ["?", "help", "This list"],
];
const ALIASES = { "=": "+", "Ctrl y": "Ctrl Shift z" };

const pressed = (event) => {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const control = event.ctrlKey || event.metaKey;
  const text = (control ? "Ctrl " : "") + (control && event.shiftKey ? "Shift " : "") + key;
  return ALIASES[text] ?? text;
};

// Typing into a field is not a shortcut; a slider or a choice takes only keys that mean something to it.
const typing = (event) => event.target.matches("input[type=search], input[type=number], input:not([type]), select") || document.querySelector("dialog[open]");

export function keys(actions) {
  document.addEventListener("keydown", (event) => {
    if (typing(event) || event.altKey) return;
    if (event.key === " " && (event.target === document.body || event.target.matches("canvas"))) {
      event.preventDefault();
      return actions.panning(true);
    }
    if (/^[1-9]$/.test(event.key) && !event.ctrlKey && !event.metaKey) return actions.class(Number(event.key) - 1);
    const row = TABLE.find(([keys]) => keys === pressed(event));
    if (!row) return;
    event.preventDefault();
    actions[row[1]]();
  });
  document.addEventListener("keyup", (event) => event.key === " " && actions.panning(false));
  window.addEventListener("blur", () => actions.panning(false));
}

export function listKeys(list) {
  for (const [keys, , text] of [...TABLE, ["1–9", "", "The first nine classes"]]) {
    const dt = document.createElement("dt");
    for (const key of keys.split(" ")) dt.append(Object.assign(document.createElement("kbd"), { textContent: key.length === 1 ? key.toUpperCase() : key }));
    list.append(dt, Object.assign(document.createElement("dd"), { textContent: text }));
  }
}
