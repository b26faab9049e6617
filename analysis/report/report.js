"use strict";
// Light and dark: the system's choice until the button is pressed.
const root = document.documentElement;
const toggle = document.getElementById("theme");
const remember = {
  get: () => { try { return localStorage.getItem("bilateral-theme"); } catch { return null; } },
  set: (theme) => { try { localStorage.setItem("bilateral-theme", theme); } catch { /* a page from a file may not */ } },
};
const isDark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const show = () => { toggle.textContent = isDark() ? "Light" : "Dark"; };
if (["light", "dark"].includes(remember.get())) root.dataset.theme = remember.get();
toggle.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  remember.set(root.dataset.theme);
  show();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
show();

// A table that is wider than its place shows on which side there is more of it.
const cut = (place) => {
  const left = place.scrollLeft > 1 ? "left" : "";
  const right = place.scrollLeft + place.clientWidth < place.scrollWidth - 1 ? "right" : "";
  place.dataset.cut = `${left} ${right}`;
};
const sizes = new ResizeObserver((seen) => seen.forEach((one) => cut(one.target)));
for (const place of document.querySelectorAll(".scroll")) {
  place.addEventListener("scroll", () => cut(place), { passive: true });
  sizes.observe(place);
}

// Tables sort by the column whose head is pressed: numbers from the highest first, words from A.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const word = head.classList.contains("word");
      const before = head.getAttribute("aria-sort");
      const ascending = before === "none" ? word : before === "descending";
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const key = (row) => {
        const cell = row.cells[column];
        const value = cell.dataset.value ?? cell.textContent.trim();
        return word ? value : value === "" ? NaN : Number(value);
      };
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (word) return (ascending ? 1 : -1) * x.localeCompare(y, undefined, { numeric: true });
        if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
        return (ascending ? 1 : -1) * (x - y);
      };
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort(compare));
    });
  });
}

// Where a link leads into a closed part, it opens.
const reveal = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const closed = target?.closest("details:not([open])");
  if (closed) { closed.open = true; target.scrollIntoView(); }
};
addEventListener("hashchange", reveal);
reveal();

// A heading has a link to itself.
for (const heading of document.querySelectorAll("h2[id], h3[id]")) {
  const link = document.createElement("a");
  link.className = "here";
  link.href = `#${heading.id}`;
  link.textContent = "#";
  link.setAttribute("aria-label", "Link to this section");
  heading.append(link);
}

// A table as it stands, in the order in which it is sorted: csv with all digits and both ends of an interval in columns
// of their own, the others as shown.
const shown = (cell) => cell.textContent.trim().replace(/\s+/g, " ");
const LATEX = { "\\": "\\textbackslash{}", "<": "\\textless{}", ">": "\\textgreater{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "≈": "$\\approx$", "±": "$\\pm$", "×": "$\\times$", "−": "$-$", "–": "--", "→": "$\\to$", "✓": "$\\checkmark$" };
const latex = (text) => text.replace(/[\\<>~^≈±×−–→✓]|[&%$#_{}]/g, (c) => LATEX[c] ?? `\\${c}`);
const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
// In the unit of the head: per cent where the files have fractions.
const scaled = (cell, value) => (cell.dataset.scale && value !== "" ? String(Number((value * cell.dataset.scale).toPrecision(14))) : value);
const held = (table) => {
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...table.tBodies[0].rows].map((row) => [...row.cells]);
  return { heads, rows, caption: table.caption ? shown(table.caption.firstElementChild) : "" };
};
const FORMATS = {
  CSV: ({ heads, rows }) => {
    const two = heads.map((_, column) => rows.some((row) => row[column].dataset.upper));
    const names = heads.flatMap((head, column) => (two[column] ? [`${shown(head)}, from`, `${shown(head)}, to`] : [shown(head)]));
    const lines = rows.map((row) => row.flatMap((cell, column) => {
      const value = cell.dataset.value ?? shown(cell);
      return two[column] ? [scaled(cell, value), scaled(cell, cell.dataset.upper ?? "")] : [scaled(cell, value)];
    }));
    return [names, ...lines].map((line) => line.map(quoted).join(",")).join("\n") + "\n";
  },
  Markdown: ({ heads, rows, caption }) => {
    const rule = heads.map((head) => (head.classList.contains("word") ? "---" : "---:"));
    const lines = [heads.map(shown), rule, ...rows.map((row) => row.map(shown))];
    return `${caption}:\n\n${lines.map((line) => `| ${line.map((text) => text.replaceAll("|", "\\|")).join(" | ")} |`).join("\n")}\n`;
  },
  LaTeX: ({ heads, rows, caption }) => {
    const line = (cells) => `${cells.map((cell) => latex(shown(cell))).join(" & ")} \\\\`;
    const columns = heads.map((head) => (head.classList.contains("word") ? "l" : "r")).join("");
    return ["% \\usepackage{booktabs}", "\\begin{table}", "\\centering", `\\caption{${latex(caption)}}`, `\\begin{tabular}{${columns}}`,
      "\\toprule", line(heads), "\\midrule", ...rows.map(line), "\\bottomrule", "\\end{tabular}", "\\end{table}", ""].join("\n");
  },
};
const ENDINGS = { CSV: "csv", Markdown: "md", LaTeX: "tex" };
const download = (name, text) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
for (const table of document.querySelectorAll("table.sortable")) {
  const tools = document.createElement("span");
  tools.className = "tools";
  for (const [format, write] of Object.entries(FORMATS)) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = format;
    button.title = format === "CSV" ? "Download as CSV" : `Copy as ${format}`;
    button.addEventListener("click", async () => {
      const text = write(held(table));
      const name = `${table.id.replace("table-", "")}.${ENDINGS[format]}`;
      if (format === "CSV") { download(name, text); return; }
      // Where a browser lets a page copy nothing, it is a file.
      try { await navigator.clipboard.writeText(text); button.textContent = "copied"; } catch { download(name, text); return; }
      setTimeout(() => { button.textContent = format; }, 1500);
    });
    tools.append(button);
  }
  table.caption?.append(tools);
}

// On paper closed parts are open, but for those longer than a page: these are in files beside this one.
const LONGEST = 60;
let opened = [], buttons = [];
addEventListener("beforeprint", () => {
  // Heads are repeated on each page, but not the buttons in them.
  buttons = [...document.querySelectorAll("th button")].map((button) => [button, [...button.childNodes]]);
  for (const [button, words] of buttons) button.replaceWith(...words);
  opened = [...document.querySelectorAll("details:not([open])")]
    .filter((one) => !one.querySelector("pre") && one.querySelectorAll("tbody tr").length <= LONGEST);
  for (const one of opened) one.open = true;
});
addEventListener("afterprint", () => {
  for (const [button, words] of buttons) { words[0].before(button); button.append(...words); }
  for (const one of opened) one.open = false;
  opened = buttons = [];
});
