"use strict";

const list = document.getElementById("cards");
const filter = document.getElementById("filter");

function show() {
  const wanted = filter.value.trim().toLowerCase();
  for (const card of list.children) {
    card.hidden = wanted !== "" && !card.textContent.toLowerCase().includes(wanted);
  }
}

async function refresh() {
  const answer = await fetch(`/cards?after=${list.dataset.last}`);
  const piece = document.createElement("template");
  piece.innerHTML = await answer.text();
  const first = piece.content.querySelector("article");
  if (first === null) return;
  list.dataset.last = first.dataset.number;
  list.prepend(piece.content);
  document.getElementById("total").value = first.dataset.number;
  document.getElementById("empty").hidden = true;
  show();
}

filter.addEventListener("input", show);
setInterval(() => refresh().catch(() => {}), 1000);
