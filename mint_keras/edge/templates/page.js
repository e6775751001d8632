"use strict";
// Photos go one by one to the program on this machine; it answers with boxes and words, which are laid over the photos
// that this page has anyway.
const drop = document.getElementById("drop");
const progress = document.getElementById("progress");
const results = document.getElementById("results");
const messages = JSON.parse(drop.dataset.messages);
let shown = [];
let isBusy = false;

// Returns a message in the page's language, with what belongs into its holes {0}, {1} ...
function say(name, ...values) {
  return messages[name].replace(/\{(\d)\}/g, (_, hole) => values[hole]);
}

async function ask(path, options) {
  const answer = await fetch(path, options);
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}

async function score(files) {
  if (isBusy || !files.length) return;
  isBusy = true;
  shown.forEach(URL.revokeObjectURL);
  shown = [];
  results.replaceChildren();
  try {
    const kept = files.slice(0, Number(drop.dataset.maxPhotos));
    const { batch } = await (await ask("/batches", { method: "POST" })).json();
    const sent = [];
    const large = [];
    const unread = [];
    for (const [number, file] of kept.entries()) {
      progress.textContent = say("looking", number + 1, kept.length, file.name);
      if (file.size > Number(drop.dataset.maxBytes)) {
        large.push(file.name);
        continue;
      }
      let body;
      try {
        body = await file.arrayBuffer();
      } catch {
        unread.push(file.name); // a folder that was dropped, or a file that went away
        continue;
      }
      await ask(`/batches/${batch}/photos?name=${encodeURIComponent(file.name)}`, { method: "POST", body });
      sent.push(file);
    }
    results.innerHTML = await (await ask(`/batches/${batch}`)).text(); // escaped there, and scripts in it would not run
    show(sent, batch);
    results.focus();
    const left = files.length - kept.length;
    progress.textContent = [
      left ? say("left", left, kept.length) : "",
      large.length ? say("large", large.join(", ")) : "",
      unread.length ? say("unread", unread.join(", ")) : "",
    ].join(" ").trim();
  } catch (error) {
    progress.textContent = say("failed", error.message);
  } finally {
    isBusy = false;
  }
}

function show(files, batch) {
  const link = document.getElementById("report");
  if (link) link.href = `/batches/${batch}/report`;
  for (const figure of results.querySelectorAll("figure.photo")) {
    const image = figure.querySelector("image");
    if (!image) continue;
    const url = URL.createObjectURL(files[Number(figure.dataset.row)]);
    shown.push(url);
    image.setAttribute("href", url);
  }
}

document.getElementById("choose").addEventListener("change", (event) => {
  score([...event.target.files]);
  event.target.value = "";
});
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragenter" || name === "dragover");
    if (name === "drop") score([...event.dataTransfer.files]);
  });
}
