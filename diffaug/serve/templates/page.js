
"use strict";
const at = (id) => document.getElementById(id);
const form = at("form");
const fields = form.elements;
const drop = at("drop");
const button = form.querySelector("button");
let recipes = [];
let urls = [];

const url = (blob) => {
  urls.push(URL.createObjectURL(blob));
  return urls.at(-1);
};

// a word as a shell takes it
const word = (text) =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`;

const stem = (name) => name.replace(/\.[^.]*$/, "") || "picture";

const headers = () => {
  const token = fields.token.value.trim();
  return token ? { Authorization: `Bearer ${token}` } : {};
};

const say = (text) => {
  at("status").textContent = text;
};

const complain = (title, detail) => {
  const box = at("problem");
  box.hidden = !title;
  box.querySelector("strong").textContent = title;
  box.querySelector("p").textContent = detail || "";
};

// what a request is answered, or undefined and a complaint
const ask = async (path, options) => {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    complain("No answer", "The server cannot be reached. Is it running?");
    return undefined;
  }
  const body = await response.json().catch(() => undefined);
  if (response.ok && body) return body;
  if (response.status === 401) fields.token.closest("label").hidden = false;
  complain(
    `${response.status} ${body?.title || response.statusText}`,
    body?.detail || "The answer is not one of diffaug's. Is something in between?",
  );
  return undefined;
};

const describe = () => {
  const chosen = recipes.find((one) => one.name === fields.recipe.value);
  if (!chosen) return;
  const { model, strength, steps, sampler, condition } = chosen.recipe;
  at("about-recipe").textContent =
    `${model}, strength ${strength}, ${steps} steps of ${sampler}` +
    (condition === "label" ? ", requires a label" : "");
  fields.label.required = condition === "label";
};

const list = async () => {
  const found = await ask("v1/recipes", { headers: headers() });
  if (!found) return;
  complain("");
  recipes = found;
  fields.recipe.replaceChildren(...recipes.map(({ name }) => new Option(name, name)));
  at("server").textContent =
    `diffaug ${recipes[0].environment.versions.diffaug}, model ${recipes[0].model.name}, ` +
    `on ${recipes[0].environment.device_class}`;
  describe();
};

const sized = (image, blob, words) => {
  const bytes = blob.size < 1e6 ? `${(blob.size / 1e3).toFixed(1)} kB` : `${(blob.size / 1e6).toFixed(1)} MB`;
  const caption = image.closest("figure").querySelector("figcaption");
  image.onload = () => {
    image.hidden = false;
    image.classList.toggle("tiny", Math.max(image.naturalWidth, image.naturalHeight) < 128);
    caption.textContent = `${words}, ${image.naturalWidth} × ${image.naturalHeight}, ${bytes}`;
  };
  image.onerror = () => {
    image.hidden = true;
    caption.textContent = `${words}, ${bytes}, of a type that this browser does not show`;
  };
  image.src = url(blob);
};

const clear = () => {
  for (const one of urls) URL.revokeObjectURL(one);
  urls = [];
  complain("");
  for (const id of ["made", "saves", "commands", "lineage"]) at(id).hidden = true;
  at("made").closest("figure").querySelector("figcaption").textContent = "result";
};

const show = (picture, answer, query) => {
  const data = Uint8Array.from(atob(answer.image ?? answer.clip), (letter) => letter.charCodeAt(0));
  const made = new Blob([data], { type: answer.media_type });
  const name = `${stem(picture.name)}-a${answer.row.copy}`;
  const file = `${name}.${answer.media_type.replace(/^\w+\//, "").replace("jpeg", "jpg")}`;
  sized(at("made"), made, "result");

  const whole = new Blob([JSON.stringify(answer)], { type: "application/json" });
  for (const [id, blob, saved] of [["save-picture", made, file], ["save-row", whole, `${name}.json`]]) {
    at(id).href = url(blob);
    at(id).download = saved;
  }

  const asked = new URL(`v1/augment?${query}`, location.href);
  const bearer = fields.token.value.trim() ? ' -H "Authorization: Bearer $TOKEN"' : "";
  at("curl").textContent = [
    `curl ${word(asked.href)}`,
    `-H 'Content-Type: ${type(picture)}'${bearer}`,
    `--data-binary ${word(`@${picture.name}`)} -o ${word(file)}`,
  ].join(" \\\n  ");
  at("replay").textContent =
    `diffaug replay ${word(`${name}.json`)} --source ${word(picture.name)} -o ${word(file)}`;

  at("row").replaceChildren(
    ...Object.entries(answer.row)
      .filter(([, value]) => value !== null)
      .map(([column, value]) => {
        const line = document.createElement("tr");
        const head = line.appendChild(document.createElement("th"));
        head.scope = "row";
        head.textContent = column;
        line.appendChild(document.createElement("td")).textContent = value;
        return line;
      }),
  );
  for (const id of ["saves", "commands", "lineage"]) at(id).hidden = false;
};

const type = (picture) => picture.type || "application/octet-stream";

const choose = () => {
  const [picture] = fields.picture.files;
  clear();
  if (!picture) return;
  sized(at("source"), picture, picture.name);
  say("Ready.");
};

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const [picture] = fields.picture.files;
  choose();
  if (!type(picture).match(/^(image|video)\/|\/octet-stream$/)) {
    complain("No picture", `${picture.name} is of type ${picture.type}: choose a picture's file.`);
    return;
  }
  const query = new URLSearchParams();
  for (const name of ["recipe", "copy", "label", "label_text", "key"]) {
    if (fields[name].value) query.set(name, fields[name].value);
  }
  button.disabled = true;
  say("Waiting for the server …");
  const began = performance.now();
  const answer = await ask(`v1/augment?${query}`, {
    method: "POST",
    body: picture,
    headers: { ...headers(), "Content-Type": type(picture), Accept: "application/json" },
  });
  const seconds = ((performance.now() - began) / 1000).toFixed(2);
  button.disabled = false;
  say(answer ? `Done in ${seconds} s.` : `Refused after ${seconds} s.`);
  if (answer) show(picture, answer, query);
});

fields.picture.addEventListener("change", choose);
fields.recipe.addEventListener("change", describe);
fields.token.addEventListener("change", list);

drop.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  fields.picture.files = event.dataTransfer.files;
  choose();
});

list();
