"use strict";
const details = JSON.parse(document.getElementById("details").textContent);

// filters for the images or texts shown
const controls = document.getElementById("controls");
if (controls) {
  const strips = [...document.querySelectorAll(".strip")];
  const cards = [...document.querySelectorAll(".strip .card")];
  const fields = controls.elements;
  const names = [...new Set(cards.map((card) => card.dataset.class))].filter(Boolean);
  names.sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
  for (const name of names) fields.class.add(new Option(name, name));

  const update = () => {
    const from = Number(fields.from.value);
    const to = Number(fields.to.value);
    fields["from-shown"].value = from;
    fields["to-shown"].value = to;
    for (const card of cards) {
      const strength = Number(card.dataset.strength);
      card.hidden =
        (fields.class.value && card.dataset.class !== fields.class.value) ||
        (fields.status.value && card.dataset.status !== fields.status.value) ||
        strength < from || strength > to;
    }
    for (const strip of strips) strip.hidden = !strip.querySelector(".card:not([hidden])");
    const left = cards.filter((card) => !card.hidden).length;
    document.getElementById("count").textContent = `${left} of ${cards.length} ${details.things}`;
  };
  controls.addEventListener("input", update);
  controls.addEventListener("reset", () => setTimeout(update));
  controls.addEventListener("submit", (event) => event.preventDefault());
  update();
}

// clips play while they are pointed at: a source and its copies together
const still = matchMedia("(prefers-reduced-motion: reduce)");
for (const part of document.querySelectorAll(".strip, .cards .card, .tried li")) {
  const clips = [...part.querySelectorAll("img[data-plays]")].map((image) => [image, image.src]);
  if (!clips.length) continue;
  const play = () => {
    if (!still.matches) for (const [image] of clips) image.src = image.dataset.plays;
  };
  const stop = () => {
    for (const [image, first] of clips) image.src = first;
  };
  part.addEventListener("pointerenter", play);
  part.addEventListener("focusin", play);
  part.addEventListener("pointerleave", stop);
  part.addEventListener("focusout", stop);
}

// the lineage of an image or text
const dialog = document.getElementById("lineage");
let opener = null;

const show = (button) => {
  opener = button;
  const { row, command, source } = details.cards[button.dataset.name];
  document.getElementById("lineage-title").textContent =
    `${row.source_key || row.source_shard}, copy ${row.copy || "none"}: ${row.status}`;
  const result = button.querySelector("img");
  const pictures = { source: details.sources[source], result: result ? result.dataset.plays || result.src : "" };
  for (const image of dialog.querySelectorAll("img[data-show]")) {
    const uri = pictures[image.dataset.show];
    image.closest("figure").hidden = !uri;
    image.src = uri || "data:,";
  }
  const made = button.querySelector(".text");
  const texts = { source: [details.sources[source]], result: made ? made.cloneNode(true).childNodes : [] };
  for (const text of dialog.querySelectorAll(".text[data-show]")) {
    text.replaceChildren(...texts[text.dataset.show]);
    text.closest("figure").hidden = !text.textContent;
  }
  dialog.querySelector(".command").hidden = !command;
  dialog.querySelector(".command code").textContent = command;
  dialog.querySelector("tbody").replaceChildren(
    ...Object.entries(row).map(([name, value]) => {
      const line = document.createElement("tr");
      const head = line.appendChild(document.createElement("th"));
      head.scope = "row";
      head.textContent = name;
      line.appendChild(document.createElement("td")).textContent = value;
      return line;
    }),
  );
  if (!dialog.open) dialog.showModal();
};

const step = (by) => {
  const all = [...document.querySelectorAll("main [data-name]")].filter((one) => one.offsetParent);
  show(all[(all.indexOf(opener) + by + all.length) % all.length]);
};

document.querySelector("main").addEventListener("click", (event) => {
  const button = event.target.closest("[data-name]");
  if (button) show(button);
});
dialog.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (event.target === dialog || (button && "close" in button.dataset)) dialog.close();
  else if (button && button.dataset.step) step(Number(button.dataset.step));
  else if (button && "copy" in button.dataset) {
    const command = dialog.querySelector(".command code");
    getSelection().selectAllChildren(command);
    if (navigator.clipboard) navigator.clipboard.writeText(command.textContent);
    else document.execCommand("copy");
    button.textContent = "copied";
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  }
});
dialog.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
dialog.addEventListener("close", () => opener && opener.focus());
