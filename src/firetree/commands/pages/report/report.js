for (const box of document.querySelectorAll(".picture")) {
  const data = JSON.parse(box.querySelector("script").textContent);
  (box.classList.contains("timeline") ? timeline : curve)(box, data);
}
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
