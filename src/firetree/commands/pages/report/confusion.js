/* What a cell of a confusion matrix counts, beside the pointer or the finger. */
function confusion(figure) {
  const tip = tooltip(figure);
  const tell = (event) => {
    const cell = event.target.closest("[data-words]");
    if (!cell) return tip.hide();
    const inside = cell.getBoundingClientRect(), around = figure.getBoundingClientRect();
    const [title, ...lines] = cell.dataset.words.split("\n");
    tip.show(inside.left + inside.width / 2 - around.left, inside.top - around.top, title, lines);
  };
  figure.addEventListener("pointerover", tell);
  figure.addEventListener("pointerdown", tell);
  figure.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && tip.hide());
}
