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
