for (const box of document.querySelectorAll(".picture")) {
  const data = JSON.parse(box.querySelector("script").textContent);
  ({ timeline, curve, learning })[box.classList[1]](box, data);
}
for (const figure of document.querySelectorAll(".confusion")) confusion(figure);
for (const button of document.querySelectorAll(".command button")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  const say = (word) => {
    button.textContent = word;
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  };
  button.onclick = () => {
    const command = button.previousElementSibling.textContent;
    navigator.clipboard.writeText(command).then(() => say("Copied"), () => say("Not allowed"));
  };
}
