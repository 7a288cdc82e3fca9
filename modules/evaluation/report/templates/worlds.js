// Of the questions that the other menus leave, shows those of one world; it listens after them, and so has the last word.
(() => {
  const form = document.getElementById("filters");
  const cards = [...document.querySelectorAll("article.card")];
  const narrow = () => {
    const world = form.elements.world.value;
    for (const card of cards) card.hidden ||= world !== "" && card.dataset.world !== world;
    const count = cards.filter((card) => !card.hidden).length;
    document.getElementById("count").textContent = `${count} of ${cards.length} questions`;
    document.getElementById("none").hidden = count > 0;
  };
  form.addEventListener("change", narrow);
  form.addEventListener("reset", () => setTimeout(narrow));
  narrow();
})();
