"use strict";
// Sorts and filters tables, and enlarges pictures; the page says the same without it.
(() => {
  const compare = (a, b) => {
    const blank = (a === "") - (b === "");
    if (blank || a === b) return blank;
    return isNaN(a) || isNaN(b) ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  };
  const key = (row, column) => {
    const cell = row.cells[column];
    return "sort" in cell.dataset ? cell.dataset.sort : cell.textContent.trim();
  };

  const sort = (table, head) => {
    const descending =
      head.ariaSort ? head.ariaSort === "ascending" : head.classList.contains("number");
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const body = table.tBodies[0];
    const keyed = [...body.rows].map((row) => [key(row, head.cellIndex), row]);
    // Rows without a value stay below, whichever way the others run.
    keyed.sort(([a], [b]) => compare(a, b) * (descending && a !== "" && b !== "" ? -1 : 1));
    body.append(...keyed.map(([, row]) => row));
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const head of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(table, head));
      head.append(button);
    }
  }

  for (const filters of document.querySelectorAll(".filters")) {
    const table = document.getElementById(filters.dataset.for);
    const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent.trim());
    const text = filters.querySelector("input");
    const menus = [...filters.querySelectorAll("select")];
    const keep = () => {
      const words = text ? text.value.toLowerCase().split(/\s+/) : [];
      const rows = [...table.tBodies[0].rows];
      for (const row of rows) {
        const content = row.textContent.toLowerCase();
        row.hidden = !(
          words.every((word) => content.includes(word)) &&
          menus.every((menu) => {
            const column = heads.indexOf(menu.dataset.column);
            return !menu.value || key(row, column) === menu.value;
          })
        );
      }
      const shown = rows.filter((row) => !row.hidden).length;
      const of = shown === rows.length ? "" : `${shown} of `;
      filters.querySelector("output").textContent =
        `${of}${rows.length} ${rows.length === 1 ? "row" : "rows"}`;
    };
    filters.addEventListener("input", keep);
    filters.hidden = false;
  }

  const pictures = document.querySelectorAll(".enlarges img");
  if (pictures.length) {
    const dialog = document.createElement("dialog");
    const close = document.createElement("button");
    close.type = "button";
    close.addEventListener("click", () => dialog.close());
    dialog.append(close);
    document.body.append(dialog);
    for (const picture of pictures) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "enlarge";
      button.title = "Enlarge";
      picture.replaceWith(button);
      button.append(picture);
      button.addEventListener("click", () => {
        dialog.setAttribute("aria-label", picture.alt);
        close.replaceChildren(picture.cloneNode(), "Close");
        dialog.showModal();
      });
    }
  }
})();
