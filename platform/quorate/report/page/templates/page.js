// Sorts tables by the buttons in their headings, and shows one of several panels at a time. The page is complete without it.
(() => {
  "use strict";
  const number = (text) => (text === "" ? NaN : Number(text));

  const compare = (a, b, sign) => {
    const x = number(a), y = number(b);
    if (a === "" || b === "") return (a === "") - (b === ""); // unknown values come last in both orders
    if (!Number.isNaN(x) && !Number.isNaN(y)) return sign * (x - y);
    return sign * a.localeCompare(b, "en", { numeric: true });
  };

  const sort = (table, place, order) => {
    const body = table.tBodies[table.tBodies.length - 1];
    const value = (row) => row.cells[place].dataset.value ?? row.cells[place].textContent.trim();
    const sign = order === "descending" ? -1 : 1;
    [...body.rows].sort((a, b) => compare(value(a), value(b), sign)).forEach((row) => body.append(row));
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const order = now ? (now === "ascending" ? "descending" : "ascending") : head.dataset.first || "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", order);
        sort(table, place, order);
      });
    });
  }

  for (const group of document.querySelectorAll(".toggle")) {
    const panels = [...group.querySelectorAll(":scope > .panel")];
    if (panels.length < 2) continue;
    const bar = document.createElement("div");
    bar.className = "switch";
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", group.dataset.label);
    const show = (chosen) => panels.forEach((panel, place) => {
      panel.hidden = panel !== chosen;
      bar.children[place].setAttribute("aria-pressed", String(panel === chosen));
    });
    for (const panel of panels) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = panel.dataset.name;
      button.addEventListener("click", () => show(panel));
      bar.append(button);
    }
    group.prepend(bar);
    show(panels[0]);
  }

  const contents = document.querySelector("nav details");
  if (window.matchMedia("(max-width: 1099px)").matches) contents.open = false;

  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open]), .panel[hidden]")];
    opened.forEach((each) => (each.matches("details") ? (each.open = true) : (each.hidden = false)));
  });
  window.addEventListener("afterprint", () => {
    opened.forEach((each) => (each.matches("details") ? (each.open = false) : (each.hidden = true)));
  });
})();
