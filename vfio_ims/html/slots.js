// What became of one slot, in every part: by its number, or by pointing at a cell of a map.
(() => {
  const record = JSON.parse(document.getElementById("record").textContent);
  const good = new Set(["delivered", "withheld", "woken"]);
  const runs = Array.isArray(record) ? record : [record];
  const has = (ranges, slot) => ranges.some((range) => {
    const [first, last = first] = range.split("-").map(Number);
    return first <= slot && slot <= last;
  });
  const lines = (run, slot) => (run.slot_results || []).flatMap((part) => {
    const found = Object.keys(part.results).find((result) => has(part.results[result], slot));
    if (!found) return [];
    const on = part.vectors && part.vectors[slot] >= 0 ? ` on vector ${part.vectors[slot]}` : "";
    const other = part.astray.find(([which]) => which === slot);
    const where = other ? `, arrived on vector ${other[1]}` : "";
    const step = part.step.replace(", after it", "");
    const title = [step, part.part, step === part.step ? "" : "after the reset"].filter(Boolean).join(", ");
    return [[`${title}: ${found}${on}${where}`, good.has(found)]];
  });
  document.querySelectorAll(".one-slot").forEach((box, number) => {
    const input = box.querySelector("input");
    const list = box.querySelector("ul");
    const run = runs[number] || runs[0];
    const show = () => {
      const found = lines(run, Number(input.value));
      list.replaceChildren(...(found.length ? found : [["not tested", true]]).map(([text, sound]) => {
        const item = document.createElement("li");
        item.textContent = (sound ? "" : "✗ ") + text;
        item.className = sound ? "" : "odd";
        return item;
      }));
    };
    box.hidden = false;
    input.addEventListener("input", show);
    show();
    const half = box.closest("[data-run]") || document;
    half.querySelectorAll("figure[data-columns]").forEach((figure) => {
      figure.addEventListener("pointermove", (event) => {
        const cells = figure.querySelector("svg [id$=cells] path");
        const box = cells.getBoundingClientRect();
        const columns = Number(figure.dataset.columns);
        const slots = Number(figure.dataset.slots);
        const rows = Math.ceil(slots / columns);
        const x = Math.floor((event.clientX - box.left) / box.width * Math.min(columns, slots));
        const y = Math.floor((event.clientY - box.top) / box.height * rows);
        const slot = y * columns + x;
        if (x >= 0 && x < columns && y >= 0 && slot < slots && String(slot) !== input.value) {
          input.value = slot;
          show();
          figure.querySelector("svg title").textContent = `slot ${slot}`;
        }
      });
    });
  });
})();
