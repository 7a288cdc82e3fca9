"use strict";
// Shows the questions that the three menus ask for; without it all of them are shown.
(() => {
  const form = document.getElementById("filters");
  const cards = [...document.querySelectorAll("article.card")].map((card) => ({
    card,
    kinds: JSON.parse(card.dataset.kinds),
    verdicts: card.dataset.verdicts.split(" "),
    rows: [...card.querySelectorAll(".row[data-system]")],
  }));
  const chosen = (name) => (form.elements[name] ? form.elements[name].value : "");
  const show = () => {
    const kind = chosen("kind"), system = chosen("system"), verdict = chosen("verdict");
    let count = 0;
    for (const { card, kinds, verdicts, rows } of cards) {
      const asked = system === "" ? verdicts : [verdicts[Number(system)]];
      const fits = (!kind || kinds.includes(kind)) && (!verdict || asked.includes(verdict));
      card.hidden = !fits;
      count += fits ? 1 : 0;
      rows.forEach((row) => row.classList.toggle("chosen", row.dataset.system === system));
    }
    document.getElementById("count").textContent = `${count} of ${cards.length} questions`;
    document.getElementById("none").hidden = count > 0;
  };
  form.addEventListener("change", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(show));
  show(); // a browser that comes back to the page has kept what was chosen
})();
